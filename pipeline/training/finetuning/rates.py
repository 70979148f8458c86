"""Parameters in groups, each with its learning rate and decay: layer-wise rates (Howard and Ruder 2018)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pipeline.networks.classifier import HEADS, Classifier
from pipeline.training.finetuning.tuning import Tuning
from pipeline.training.optimizers import split_by_decay

WITHOUT_DECAY = "without decay"


def parameter_groups(
    classifier: Classifier, tuning: Tuning, learning_rate: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Group by stage, the heads first; norms and biases, in groups of their own, do not decay.

    Parameters that never train are in none. Without fine-tuning there are two groups, of all stages together.

    Returns
    -------
    list of dict
        Arguments of a torch optimizer; ``name`` is the stage, with :data:`WITHOUT_DECAY` behind it where it does not
        decay.
    """
    named = dict(classifier.named_parameters())
    if not tuning.settings.active:
        plain = _split(list(named.values()), weight_decay)
        return [{"params": parameters, "weight_decay": decay} for parameters, decay in plain]
    stages = list(classifier.backbone.named_stages())
    groups = []
    for distance, stage in enumerate([HEADS, *reversed(stages)]):
        own = [p for name, p in named.items() if tuning.stages[name] == stage and tuning.ever_trains(name)]
        for (parameters, decay), suffix in zip(_split(own, weight_decay), ("", f" {WITHOUT_DECAY}"), strict=True):
            if parameters:
                rate = learning_rate * tuning.settings.layer_decay**distance
                groups.append({"params": parameters, "weight_decay": decay, "lr": rate, "name": stage + suffix})
    return groups


def stage_of_group(group: dict[str, Any]) -> str | None:
    """Stage of a group that :func:`parameter_groups` made; None where it holds all."""
    name: str | None = group.get("name")
    return name.removesuffix(f" {WITHOUT_DECAY}") if name else None


def stage_rates(groups: Sequence[dict[str, Any]], rates: Sequence[float | Tensor]) -> dict[str, float]:
    """Learning rate of each stage as ``learning_rate/STAGE``; nothing where all share one."""
    named = {stage_of_group(group): rate for group, rate in zip(groups, rates, strict=True)}
    return {f"learning_rate/{stage}": float(rate) for stage, rate in named.items() if stage}


def _split(parameters: list[nn.Parameter], weight_decay: float) -> list[tuple[list[nn.Parameter], float]]:
    """Those that decay, and norms and biases, which do not, each with its decay."""
    decaying, others = split_by_decay(parameters)
    return [(decaying, weight_decay), (others, 0.0)]
