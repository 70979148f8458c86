"""Which states of a run are kept: the best epoch, and the last state, to go on from."""

import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint, EarlyStopping
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from pytorch_lightning.utilities.exceptions import SIGTERMException

from pipeline import atomic
from pipeline.data.batch import Batch
from pipeline.training.checkpoints import BEST, KEPT_BEST, LAST, find_best
from pipeline.training.module import SCORE, TrainingModule

log = logging.getLogger("resdx")

IN_VALIDATION = "in validation"
"""Argument of a stop that cuts a validation off."""


class KeepBest(Checkpoint):
    """Keeps the epoch of the highest score in ``best.ckpt``. A score that is not finite is never the best.

    Where the last epoch is asked for, it is kept whatever its score, as long as that is finite, and no other.

    Where a run goes on from a state before the epoch that ``best.ckpt`` holds (it was killed between the two saves, or
    its last checkpoint was damaged), the best epoch of that state is put back, so that what was not resumed from leaves
    no trace.

    Parameters
    ----------
    last : int
        Number of the last epoch, where that is to be kept; 0: the best.

    Attributes
    ----------
    score : float
    epoch : int
        Counted from 1; 0 where there is none yet.
    told : list of str
        Best epochs that were lost, for the card of the model.
    """

    def __init__(self, folder: Path, last: int = 0) -> None:
        self._last = last
        self.score, self.epoch = -math.inf, 0
        self.told: list[str] = []
        self._folder = folder

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Hold ``best.ckpt`` against the state that is gone on from."""
        found = not trainer.is_global_zero or self.epoch == 0 or self._put_back()
        if not trainer.strategy.broadcast(found):
            self.told.append(
                f"The weights of the best of the epochs so far, {self.epoch}, were lost to a damaged {BEST}; the best "
                "was chosen among those that came after the state that was gone on from."
            )
            log.warning("%s", self.told[-1])
            self.score, self.epoch = -math.inf, 0

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save an epoch that is better than all before it, or the last."""
        score, epoch = float(trainer.callback_metrics[SCORE]), trainer.current_epoch + 1
        if math.isfinite(score) and (epoch == self._last if self._last else score > self.score):
            self.score, self.epoch = score, epoch
            trainer.save_checkpoint(self._folder / BEST)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep which epoch is the best."""
        checkpoint[KEPT_BEST] = {"score": self.score, "epoch": self.epoch, "told": list(self.told)}

    def on_load_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """See :meth:`on_save_checkpoint`."""
        kept = checkpoint[KEPT_BEST]
        self.score, self.epoch, self.told = kept["score"], kept["epoch"], list(kept["told"])

    def _put_back(self) -> bool:
        path = find_best(self._folder, self.epoch, self.score)
        if path is not None and path.name != BEST:
            log.warning("%s is damaged or of a state that is not gone on from; %s is used.", BEST, path.name)
            atomic.write_with(self._folder / BEST, lambda temporary: shutil.copyfile(path, temporary))
        return path is not None


class StopEarly(EarlyStopping):
    """Stops after `patience` epochs without a better one; a run that had come to its end does not go on."""

    def __init__(self, patience: int) -> None:
        super().__init__(SCORE, mode="max", patience=patience, check_on_train_epoch_end=True)

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Stop where the state that is gone on from had stopped: Lightning forgets it."""
        if self.stopping_reason is not EarlyStoppingReason.NOT_STOPPED:
            trainer.should_stop = True


class KeepLast(Checkpoint):
    """Keeps the state of the run in ``last.ckpt``: at the end of an epoch, on SIGTERM, and as often as asked for.

    It must stand last: it saves the others' state too. On SIGTERM in validation it saves the state behind the last
    batch of training, and a run that goes on begins with the whole of that validation.

    Parameters
    ----------
    every : int
        Also save after so many batches; 0: not.
    saved : callable
        Called when the state is safe on the disk.
    """

    def __init__(self, folder: Path, every: int, saved: Callable[[], None] = lambda: None) -> None:
        self._path = folder / LAST
        self._every = every
        self._saved = saved

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Save; Lightning then stops if it received SIGTERM."""
        done = batch_idx + 1
        if done == trainer.num_training_batches or done % trainer.accumulate_grad_batches:
            return  # the end of the epoch saves by itself; half-accumulated gradients are not part of a checkpoint
        assert isinstance(module, TrainingModule)
        if trainer.received_sigterm or module.stopping.agreed:
            self._save(trainer)
            raise SIGTERMException
        if self._every and done % self._every < trainer.accumulate_grad_batches:  # due with one of this step's batches
            self._save(trainer)

    def on_validation_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Save and stop if SIGTERM arrived in the last batch of training."""
        self._stop_validating(trainer)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Save and stop if SIGTERM arrived."""
        self._stop_validating(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let a validation that is cut off begin again: Lightning would go on behind the batches that it has lost."""
        if trainer.validating:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            for counts in (progress["total"], progress["current"]):
                counts |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress["is_last_batch"] = False

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save."""
        self._save(trainer)

    def _stop_validating(self, trainer: pl.Trainer) -> None:
        if trainer.received_sigterm and trainer.world_size == 1:
            self._save(trainer)
            raise SIGTERMException(IN_VALIDATION)

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self._path)
        self._saved()
