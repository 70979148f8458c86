"""Keeps a sample of the images that the network is trained on, as augmentation left them."""

import logging
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from pipeline.data.batch import Batch
from pipeline.domain.journal import Journal
from pipeline.training.review.pictures import Picture, middle_slice, save_grid

log = logging.getLogger("resdx")

SAMPLE = 16
INPUTS = "inputs.png"


class InputSample(Callback):
    """Draws the first images of the first epoch; on the first process alone, and once for a run."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._path = folder / INPUTS
        self._journal = journal
        self._pictures: list[Picture] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Take what is still missing."""
        if not self._wanted(trainer):
            return
        missing = SAMPLE - len(self._pictures)
        self._pictures += [middle_slice(image.float().cpu().numpy()) for image in batch.image[:missing]]
        if len(self._pictures) == SAMPLE:
            self._save()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draw what there is where an epoch has fewer cases."""
        if self._wanted(trainer) and self._pictures:
            self._save()

    def _wanted(self, trainer: pl.Trainer) -> bool:
        return trainer.is_global_zero and trainer.current_epoch == 0 and not self._path.exists()

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        save_grid(self._path, self._pictures, "Training images as augmented, first epoch")
        self._journal.artifact(self._path, "review")
        self._pictures = []
