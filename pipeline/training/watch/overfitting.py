"""Measures how much better a network knows its training cases than others, at the end of each epoch."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor, nn

from pipeline.data.datamodule import CaseDataModule
from pipeline.data.dataset import PreparedDataset
from pipeline.domain.case import Split
from pipeline.training.module import TrainingModule
from pipeline.training.watch.case_losses import Gap, case_losses, gap
from pipeline.training.watch.settings import OverfittingWatchSettings

TRAIN_LOSS, GAP, LOW, HIGH = "overfit/train_loss", "overfit/gap", "overfit/gap_low", "overfit/gap_high"
"""What an epoch's record gains; ``val/loss`` is the other side of the gap."""

SAMPLE_STREAM = 0x6F766572
"""Sets the draw of the sample apart from the other draws of a seed."""


class OverfittingWatch(Callback):
    """Evaluates a fixed sample of training cases as validation evaluates its own, and changes nothing.

    The loss of training itself is not comparable: it is taken with augmentation, dropout, class weights, and while the
    network changes. Must stand before the callback that records the epoch; on the first process alone.

    Parameters
    ----------
    data : CaseDataModule
    seed : int
        Of the sample.
    """

    def __init__(self, settings: OverfittingWatchSettings, data: CaseDataModule, seed: int) -> None:
        training = data.datasets[Split.TRAIN]
        size = settings.sample_size(len(training))
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, SAMPLE_STREAM])))
        chosen = np.sort(rng.choice(len(training), size=size, replace=False)).tolist()
        self.cases = tuple(training.cases[position] for position in chosen)
        self._cache = training.cache
        self._batch_size = data.batch_size
        self._validation = {case.case: case.patient for case in data.datasets[Split.VALIDATION].cases}

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Measure, beside what validation has measured."""
        assert isinstance(module, TrainingModule)
        if not trainer.is_global_zero or not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            return
        with torch.no_grad(), _evaluating(module), trainer.precision_plugin.val_step_context():
            found = self._gap(module)
        if math.isfinite(found.value):
            module.measured |= {TRAIN_LOSS: found.training, GAP: found.value}
            # one patient alone leaves no interval
            module.measured |= {LOW: found.low, HIGH: found.high} if math.isfinite(found.high) else {}

    def _gap(self, module: TrainingModule) -> Gap:
        findings = module.loss.findings
        sample = PreparedDataset(self.cases, self._cache, findings)
        logits: list[Tensor] = []
        labels: list[Tensor] = []
        for batch in sample.in_order(self._batch_size):
            logits.append(module.evaluated(batch.image.to(module.device)).cpu())
            labels.append(batch.label)
        validated = list(module.validated)
        rows, truths = zip(*module.validated.values(), strict=True)
        return gap(
            case_losses(findings, torch.cat(logits), torch.cat(labels)),
            [case.patient for case in self.cases],
            case_losses(findings, torch.stack(rows), torch.stack(truths)),
            [self._validation[case] for case in validated],
        )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Put all layers in evaluation mode, and each back to its own: frozen norms may evaluate while others train."""
    kept = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in kept:
            part.training = training
