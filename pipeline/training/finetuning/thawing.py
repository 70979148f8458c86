"""Freeze before the first step, thaw at the start of an epoch, and say so."""

import logging

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from pipeline.networks.classifier import Classifier
from pipeline.training.finetuning.account import count
from pipeline.training.finetuning.tuning import Tuning

log = logging.getLogger("resdx")


class Thawing(Callback):
    """Sets up the classifier for each epoch.

    Several processes learn of a parameter's gradient only if it had one when they were joined. There what thaws later
    computes its gradient from the start, and it is dropped before the step, so that neither the norm of the gradient
    nor the optimizer sees it.

    Parameters
    ----------
    tuning : Tuning
    classifier : Classifier
    """

    def __init__(self, tuning: Tuning, classifier: Classifier) -> None:
        self._tuning = tuning
        self._classifier = classifier
        self._joined = False

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Freeze before processes are joined and the optimizer is made."""
        self._joined = trainer.world_size > 1
        self._set(trainer)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Set up the epoch in which a run goes on, whose start is not called again."""
        self._set(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Thaw what trains from this epoch on."""
        epoch = trainer.current_epoch
        before = self._tuning.frozen(epoch - 1) if epoch else ()
        self._set(trainer)
        thawed = [stage for stage in before if stage not in self._tuning.frozen(epoch)]
        if thawed and trainer.is_global_zero:
            share = count(self._classifier, self._tuning, epoch)
            log.info("epoch %d: %s trains from now on; %s", epoch + 1, ", ".join(thawed), share.text)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Drop the gradients of what stands still."""
        if self._joined:
            for name, parameter in self._classifier.named_parameters():
                if not self._tuning.trains(name, trainer.current_epoch):
                    parameter.grad = None

    def _set(self, trainer: pl.Trainer) -> None:
        self._tuning.apply(self._classifier, trainer.current_epoch)
        if self._joined and self._tuning.settings.active:
            for name, parameter in self._classifier.named_parameters():
                parameter.requires_grad_(self._tuning.ever_trains(name))
