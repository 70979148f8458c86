"""Make a classifier ready to be fine-tuned, before its precision is proven and its first step."""

import logging
from collections.abc import Sequence

import torch
from torch import nn

from pipeline.domain.finding import Finding
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.training.finetuning.account import describe
from pipeline.training.finetuning.adapters import adapt
from pipeline.training.finetuning.settings import FinetuneSettings
from pipeline.training.finetuning.stages import check_stages, stage_modules
from pipeline.training.finetuning.tuning import Tuning

log = logging.getLogger("resdx")


def check(
    settings: FinetuneSettings, network: NetworkSettings, findings: Sequence[Finding], ndim: int, channels: int
) -> None:
    """Refuse settings that do not fit the network before hours are spent on scans; nothing is allocated.

    Raises
    ------
    ConfigError
        See :class:`pipeline.training.finetuning.tuning.Tuning`.
    """
    if settings.active:
        with torch.device("meta"):
            classifier = build_classifier(network, findings, ndim, channels)
        Tuning(settings, classifier, epochs=1)


def begin(classifier: Classifier, settings: FinetuneSettings, epochs: int) -> tuple[str, ...]:
    """Put adapters in place and freeze what never trains; what thaws later is left open, so that it can be proven.

    Parameters
    ----------
    classifier : Classifier
        With the weights to start from; changed in place.
    settings : FinetuneSettings
    epochs : int
        Of the training.

    Returns
    -------
    tuple of str
        What is fine-tuned, in sentences, the share of parameters first; empty where everything trains alike.

    Raises
    ------
    ConfigError
        A stage is named that the network does not have, or statistics are to be fixed where none are kept.
    UsageError
        Adapters are asked for and peft is not installed.
    """
    if not settings.active:
        return ()
    check_stages(settings, classifier)
    never = tuple(stage for stage, standstill in settings.standstill().items() if standstill >= epochs)
    left_out = adapt(classifier, settings.lora, without=never)
    tuning = Tuning(settings, classifier, epochs)
    late = [stage for stage in settings.thaw if stage in never]
    if late:
        log.warning("%s would thaw after the last of %d epochs: frozen to the end.", ", ".join(late), epochs)
    standing = _standing(classifier, tuning)
    if standing and all(_is_fresh(classifier.get_submodule(name)) for name in standing):
        log.warning("What is frozen or fixed is as a fresh network has it: load weights to fine-tune.")
    tuning.apply(classifier, epochs - 1)
    sentences = describe(classifier, tuning, left_out)
    for sentence in sentences:
        log.info("%s", sentence)
    return sentences


def _standing(classifier: Classifier, tuning: Tuning) -> tuple[str, ...]:
    """Name what keeps loaded values: frozen stages, fixed norms, and stages that train through adapters alone."""
    modules = stage_modules(classifier)
    return tuple(dict.fromkeys((*tuning.still(0), *(modules[stage] for stage in tuning.adapted))))


def _is_fresh(module: nn.Module) -> bool:
    """Whether all running statistics are those that a norm is made with; false where there are none to tell by."""
    found = {name: value for name, value in module.named_buffers() if name.endswith(("running_mean", "running_var"))}
    fresh = [bool((value == (1 if name.endswith("var") else 0)).all()) for name, value in found.items()]
    return bool(fresh) and all(fresh)
