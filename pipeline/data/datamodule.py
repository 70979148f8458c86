"""The loaders of an experiment, for Lightning."""

from collections.abc import Collection
from functools import partial

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from pipeline.data.augmentation import augment_batch, get_ready
from pipeline.data.batch import Batch
from pipeline.data.dataset import PreparedDataset
from pipeline.data.loader import CaseLoader
from pipeline.data.sampling import EpochOrder, EpochSampler, EvenBatches, weights_by
from pipeline.data.settings import DataSettings
from pipeline.domain.case import Split
from pipeline.domain.manifest import Manifest
from pipeline.errors import TrainingError
from pipeline.preprocessing.cache import PreparedCache


class CaseDataModule(pl.LightningDataModule):
    """Train, validation and test loaders over prepared cases.

    The order of an epoch and the augmentation of each case follow from (seed, epoch): a resumed run goes through what
    the uninterrupted one would, also from the middle of an epoch (:class:`~pipeline.data.loader.CaseLoader`). Give the
    Trainer ``use_distributed_sampler=False``: ranks share the visits already.

    Parameters
    ----------
    manifest : Manifest
    cache : PreparedCache
        Filled.
    settings : DataSettings
    batch_size : int
        A training step's cases on one device; usually ``plan.batch_size``.
    seed : int
    excluded : collection of str
        Pseudonyms of cases to leave out, those that the cache refused.

    Attributes
    ----------
    augmentation : AugmentationSettings
        Strengths that are given, and those of the plan where none are.
    visits : ndarray or None
        How often an epoch visits each training case on average, where classes are visited equally often, shape
        (cases,); None: once.

    Raises
    ------
    TrainingError
        `settings.balance` names no finding of the manifest.
    """

    def __init__(
        self,
        manifest: Manifest,
        cache: PreparedCache,
        settings: DataSettings,
        *,
        batch_size: int,
        seed: int,
        excluded: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self._settings = settings
        self._seed = seed
        self.augmentation = settings.augmentation.settled(cache.plan.augmentation)
        left_out = set(excluded)
        self._make = partial(PreparedDataset, cache=cache, findings=manifest.findings, seed=seed)
        self.datasets = {
            split: self._make(
                [case for case in manifest.of(split) if case.case not in left_out],
                augmentation=self.augmentation if split is Split.TRAIN else None,
            )
            for split in Split
        }
        self._spacing = cache.plan.spacing or (1.0,) * cache.plan.ndim
        self.visits: NDArray[np.float64] | None = None
        if settings.balance:
            self.visits = weights_by(settings.balance, self.datasets[Split.TRAIN].cases, manifest.findings)

    def train_dataloader(self) -> CaseLoader:
        """Shuffled by (seed, epoch), augmented."""
        return self._loader(Split.TRAIN)

    def val_dataloader(self) -> CaseLoader:
        """In manifest order, as prepared."""
        return self._loader(Split.VALIDATION)

    def test_dataloader(self) -> CaseLoader:
        """In manifest order, as prepared."""
        return self._loader(Split.TEST)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Change the images that the loader left as prepared, where the network is."""
        if not batch.draws:
            return batch
        return batch._replace(image=augment_batch(batch.image, batch.draws, self.augmentation, self._spacing), draws=())

    def _on_device(self) -> bool:
        """Whether training images are changed behind the loader; outside of a Trainer nobody would."""
        wanted = self._settings.augment_on
        if self.trainer is None or wanted == "processor":
            return False
        return wanted == "device" or self.trainer.strategy.root_device.type != "cpu"

    def _loader(self, split: Split) -> CaseLoader:
        dataset = self.datasets[split]
        if not len(dataset):
            raise TrainingError(f"No case is left in split {split.value!r}.", "Check the manifest and its rejections.")
        training = split is Split.TRAIN
        if training and self._on_device():
            dataset = self._make(dataset.cases, augmentation=self.augmentation, draw_only=True)
        elif training:
            get_ready(self.augmentation)
        order = EpochOrder(len(dataset), self._seed, shuffle=training, weights=self.visits if training else None)
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        batches = EvenBatches(EpochSampler(order), self.batch_size, rank, ranks)
        return CaseLoader(dataset, batches, self._settings.workers)
