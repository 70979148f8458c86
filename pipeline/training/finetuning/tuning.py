"""Which parameter trains in which epoch: a function of the settings and the epoch; a resumed run needs no memory.

A frozen stage is a fixed function of its input: no gradient, and its layers stay in evaluation mode, so that the
running statistics of its norms do not drift. Freezing the gradients alone would leave them to every batch.
"""

from pipeline.errors import ConfigError
from pipeline.networks.classifier import Classifier
from pipeline.training.finetuning.settings import FinetuneSettings
from pipeline.training.finetuning.stages import (
    check_stages,
    has_statistics,
    norm_layers,
    parameter_stages,
    stage_modules,
)

ADAPTER = ".lora_"
"""In the name of every parameter of an adapter."""

ADAPTED = ".base_layer."
"""In the name of every parameter that an adapter stands beside."""


class Tuning:
    """The plan of a fine-tuning for one classifier, whose adapters, if any, are in place.

    Parameters
    ----------
    settings : FinetuneSettings
    classifier : Classifier
    epochs : int
        Of the training; a stage that would thaw later never does.

    Attributes
    ----------
    stages : dict of str to str
        Name of each parameter to its stage, or ``heads``.

    Raises
    ------
    ConfigError
        A stage is named that the network does not have, or statistics are to be fixed where none are kept.
    """

    def __init__(self, settings: FinetuneSettings, classifier: Classifier, epochs: int) -> None:
        check_stages(settings, classifier)
        self.settings = settings
        self.stages = parameter_stages(classifier)
        self.epochs = epochs
        self._standstill = settings.standstill()
        self._modules = stage_modules(classifier)
        norms = norm_layers(classifier)
        self._norms = {f"{norm}.{name}" for norm in norms for name, _ in norms[norm].named_parameters(recurse=False)}
        self._statistics = tuple(name for name, norm in norms.items() if has_statistics(norm))
        if (settings.norms == "fixed_statistics" and not self._statistics) or (
            settings.norms == "frozen" and not norms
        ):
            kind = "norm that keeps running statistics" if norms else "norm"
            raise ConfigError("training.finetune", [f"norms: {settings.norms}, and this network has no {kind}"])

    def frozen(self, epoch: int) -> tuple[str, ...]:
        """Stages that stand still in an epoch, counted from 0, from the image on."""
        return tuple(stage for stage in self._modules if epoch < self._standstill.get(stage, 0))

    @property
    def adapted(self) -> tuple[str, ...]:
        """Stages that have adapters, from the image on."""
        found = {stage for name, stage in self.stages.items() if ADAPTER in name}
        return tuple(stage for stage in self._modules if stage in found)

    def standstill(self, stage: str | None) -> int:
        """Epochs that a stage stands still, at most all."""
        return int(min(self._standstill.get(stage or "", 0), self.epochs))

    def trains(self, name: str, epoch: int) -> bool:
        """Whether a parameter trains in an epoch, counted from 0."""
        return epoch >= self._standstill.get(self.stages[name], 0) and self._may_train(name)

    def ever_trains(self, name: str) -> bool:
        """Whether a parameter trains in some epoch: what an optimizer must know."""
        return self.trains(name, self.epochs - 1)

    def still(self, epoch: int) -> tuple[str, ...]:
        """Layers that stay in evaluation mode in an epoch, counted from 0."""
        frozen = tuple(self._modules[stage] for stage in self.frozen(epoch))
        return frozen + (() if self.settings.norms == "train" else self._statistics)

    def apply(self, classifier: Classifier, epoch: int) -> None:
        """Set up a classifier for an epoch, counted from 0."""
        if not self.settings.active:
            return
        for name, parameter in classifier.named_parameters():
            parameter.requires_grad_(self.trains(name, epoch))
        classifier.keep_still(self.still(epoch))

    def _may_train(self, name: str) -> bool:
        if ADAPTER in name:
            return True
        if name in self._norms:
            return self.settings.norms != "frozen"
        return ADAPTED not in name and not self._adapts(self.stages[name])

    def _adapts(self, stage: str) -> bool:
        """Whether a stage trains through adapters alone."""
        lora = self.settings.lora
        return bool(lora.rank) and stage in self._modules and (lora.stages == "all" or stage in lora.stages)
