"""The loaders of an experiment, for Lightning."""

from collections.abc import Collection

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray

from pipeline.data.dataset import PreparedDataset
from pipeline.data.loader import CaseLoader
from pipeline.data.resampling import kernel
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
        self.datasets = {
            split: PreparedDataset(
                [case for case in manifest.of(split) if case.case not in left_out],
                cache,
                manifest.findings,
                self.augmentation if split is Split.TRAIN else None,
                seed,
            )
            for split in Split
        }
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

    def _loader(self, split: Split) -> CaseLoader:
        dataset = self.datasets[split]
        if not len(dataset):
            raise TrainingError(f"No case is left in split {split.value!r}.", "Check the manifest and its rejections.")
        training = split is Split.TRAIN
        if training and self.augmentation.interpolates:
            kernel()  # compiled once, before worker processes inherit it
        order = EpochOrder(len(dataset), self._seed, shuffle=training, weights=self.visits if training else None)
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        batches = EvenBatches(EpochSampler(order), self.batch_size, rank, ranks)
        return CaseLoader(dataset, batches, self._settings.workers)
