"""Prepared cases as batches."""

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Dataset

from pipeline.data.augmentation import augment
from pipeline.data.batch import Batch
from pipeline.data.buffers import Buffers
from pipeline.data.draws import Draw, draw
from pipeline.data.entries import PreparedEntries
from pipeline.data.sampling import Visit
from pipeline.data.settings import AugmentationSettings
from pipeline.domain.case import Case
from pipeline.domain.encoding import encode_labels
from pipeline.domain.finding import Finding
from pipeline.preprocessing.cache import PreparedCache


class PreparedDataset(Dataset[Batch]):
    """Cases of one split, read from the prepared cache.

    A loader asks for a whole batch at once (``__getitems__``): entries are copied, or augmented, straight into the
    rows of one tensor. Augmentation of a case depends on (seed, epoch, case) only.

    Parameters
    ----------
    cases : sequence of Case
    cache : PreparedCache
    findings : sequence of Finding
    augmentation : AugmentationSettings or None
        None leaves images as prepared: validation and test.
    seed : int
    draw_only : bool
        Leave images as prepared, and say in :attr:`Batch.draws` how they are to be changed.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        cache: PreparedCache,
        findings: Sequence[Finding],
        augmentation: AugmentationSettings | None = None,
        seed: int = 0,
        draw_only: bool = False,
    ) -> None:
        self.cases = tuple(cases)
        self.cache = cache
        self._labels = torch.from_numpy(encode_labels(self.cases, findings))
        self._entries = PreparedEntries(self.cases, cache)
        self._augmentation = augmentation if augmentation is not None and augmentation.changes else None
        self._seed = seed
        self._draw_only = draw_only
        self._buffers = Buffers()

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
            image (n, c, *space) float32, label (n, columns) int64, case_id, and draws that are left to make.
        """
        positions = [visit.position for visit in visits]
        names = self._entries.names[positions].tolist()
        image = self._buffers.take((len(visits), *self.cache.shape))
        draws = self._draws(visits, names)
        if self._augmentation is None or self._draw_only:
            self._entries.copy(positions, image)
        else:
            prepared = [self._entries.get(position) for position in positions]
            augment(prepared, draws, self._augmentation, self.cache.plan.spacing, out=image)
            draws = []
        return Batch(image=image, label=self._labels[positions], case_id=names, draws=draws)

    def _draws(self, visits: Sequence[Visit], names: Sequence[str]) -> list[Draw]:
        if self._augmentation is None:
            return []
        settings, ndim = self._augmentation, len(self.cache.plan.size)
        return [
            draw(settings, ndim, seed=self._seed, epoch=visit.epoch, case=name, repeat=visit.repeat)
            for visit, name in zip(visits, names, strict=True)
        ]
