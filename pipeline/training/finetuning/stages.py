"""Which stage of a classifier a parameter or layer belongs to."""

from collections.abc import Iterable, Mapping

from torch import nn

from pipeline.backbones.operators import NORMS
from pipeline.errors import ConfigError
from pipeline.networks.classifier import HEADS, Classifier
from pipeline.training.finetuning.settings import FinetuneSettings


def stage_modules(classifier: Classifier) -> dict[str, str]:
    """Name of each stage, from the image on, to the name of its module in the classifier."""
    names = {id(module): name for name, module in classifier.named_modules()}
    return {stage: names[id(module)] for stage, module in classifier.backbone.named_stages().items()}


def parameter_stages(classifier: Classifier) -> dict[str, str]:
    """Name of each parameter to that of its stage; those behind the backbone belong to the heads."""
    found = dict.fromkeys((name for name, _ in classifier.named_parameters()), HEADS)
    for stage, module in stage_modules(classifier).items():
        names = [name for name in found if name.startswith(f"{module}.")]
        assert all(found[name] == HEADS for name in names), f"a parameter of {stage} stands in two stages"
        found.update(dict.fromkeys(names, stage))
    return found


def check_stages(settings: FinetuneSettings, classifier: Classifier) -> None:
    """Refuse names that the backbone does not have.

    Raises
    ------
    ConfigError
        Listing all of them, and the names there are.
    """
    stages = list(classifier.backbone.named_stages())
    adapted = () if settings.lora.stages == "all" else settings.lora.stages
    problems = [*_unknown("frozen", settings.frozen, stages), *_unknown("lora.stages", adapted, stages)]
    if problems:
        raise ConfigError("training.finetune", problems)


def norm_layers(classifier: nn.Module) -> Mapping[str, nn.Module]:
    """Norms by name."""
    return {name: module for name, module in classifier.named_modules() if isinstance(module, NORMS)}


def has_statistics(norm: nn.Module) -> bool:
    """Whether a norm keeps running statistics."""
    return getattr(norm, "running_mean", None) is not None


def _unknown(key: str, names: Iterable[str], stages: list[str]) -> list[str]:
    return [
        f"{key}: this network has no stage {name!r}, it has {', '.join(stages)}" for name in names if name not in stages
    ]
