"""Prepared cases as batches."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from pipeline.data.augmentation import augment
from pipeline.data.batch import Batch
from pipeline.data.draws import draw
from pipeline.data.sampling import Visit
from pipeline.data.settings import AugmentationSettings
from pipeline.domain.case import Case
from pipeline.domain.encoding import encode_labels
from pipeline.domain.finding import Finding
from pipeline.preprocessing.cache import PreparedCache


class PreparedDataset(Dataset[Batch]):
    """Cases of one split, read from the prepared cache.

    A loader asks for a whole batch at once (``__getitems__``): entries are read straight into the rows of one array,
    then augmented together. Augmentation of a case depends on (seed, epoch, case) only.

    Parameters
    ----------
    cases : sequence of Case
    cache : PreparedCache
    findings : sequence of Finding
    augmentation : AugmentationSettings or None
        None leaves images as prepared: validation and test.
    seed : int
    """

    def __init__(
        self,
        cases: Sequence[Case],
        cache: PreparedCache,
        findings: Sequence[Finding],
        augmentation: AugmentationSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.cases = tuple(cases)
        self.cache = cache
        self._labels = torch.from_numpy(encode_labels(self.cases, findings))
        self._augmentation = augmentation
        self._seed = seed

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, position: int) -> Batch:
        """One case as a batch of one, as drawn in epoch 0."""
        return self.__getitems__([Visit(position, epoch=0)])

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Batches of all cases in their order, as drawn in epoch 0; the last one may be smaller."""
        for start in range(0, len(self), batch_size):
            positions = range(start, min(start + batch_size, len(self)))
            yield self.__getitems__([Visit(position, epoch=0) for position in positions])

    def __getitems__(self, visits: Sequence[Visit]) -> Batch:
        """Read, augment and collate the visited cases.

        Returns
        -------
        Batch
            image (n, c, *space) float32, label (n, columns) int64, case_id.
        """
        cases = [self.cases[visit.position] for visit in visits]
        array = np.empty((len(cases), *self.cache.shape), dtype=np.float32)
        self.cache.load_into(cases, array)
        image = torch.from_numpy(array)
        if self._augmentation is not None:
            draws = [
                draw(
                    self._augmentation,
                    image.ndim - 2,
                    seed=self._seed,
                    epoch=visit.epoch,
                    case=case.case,
                    repeat=visit.repeat,
                )
                for visit, case in zip(visits, cases, strict=True)
            ]
            image = augment(image, draws, self._augmentation, self.cache.plan.spacing)
        label = self._labels[[visit.position for visit in visits]]
        return Batch(image=image, label=label, case_id=[case.case for case in cases])
