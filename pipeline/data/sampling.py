"""Which cases an epoch visits, in which order: a function of (seed, epoch) and nothing else."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from pipeline.domain.case import UNKNOWN, Case
from pipeline.domain.finding import Finding, FindingKind
from pipeline.errors import TrainingError


class Visit(NamedTuple):
    """One case of one epoch, as it travels to a loader's worker; `position` is its place in the dataset."""

    position: int
    epoch: int
    repeat: int = 0
    """How often the epoch visited it before."""


class EpochOrder:
    """The visits of each epoch.

    Parameters
    ----------
    count : int
        Number of cases.
    seed : int
    shuffle : bool
        False: 0, 1, 2, ... in every epoch.
    weights : ndarray, shape (count,), optional
        Draw `count` visits with replacement, in proportion to these.
    """

    def __init__(self, count: int, seed: int, *, shuffle: bool, weights: NDArray[np.float64] | None = None) -> None:
        assert weights is None or len(weights) == count
        self.count = count
        self._seed = seed
        self._shuffle = shuffle
        self._chances = None if weights is None else weights / weights.sum()

    def visits(self, epoch: int) -> list[Visit]:
        """All visits of an epoch, in order."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([self._seed, epoch])))
        if self._chances is not None:
            order = rng.choice(self.count, size=self.count, p=self._chances)
        else:
            order = rng.permutation(self.count) if self._shuffle else np.arange(self.count)
        seen: dict[int, int] = {}
        visits = []
        for index in order.tolist():
            repeat = seen[index] = seen.get(index, -1) + 1
            visits.append(Visit(index, epoch, repeat))
        return visits


class EpochSampler(Sampler[Visit]):
    """The visits of the epoch that was set. Lightning calls :meth:`set_epoch`, on resume too."""

    def __init__(self, order: EpochOrder) -> None:
        self._order = order
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Visit]:
        return iter(self._order.visits(self.epoch))

    def __len__(self) -> int:
        return self._order.count


class EvenBatches(Sampler[list[Visit]]):
    """Batches of nearly equal size, at most `batch_size`: no batch of one case breaks batch normalisation.

    30 cases in batches of 8 make 8, 8, 7, 7 rather than 8, 8, 8, 6; every visit is in exactly one batch. Iteration
    begins at batch `start`.

    Several ranks share each batch: step k of two ranks sees the cases of step k of one process whose batches are twice
    as large, each visit once, and all ranks make the same number of steps. Their shares differ by one case at most, so
    a mean over the batch must be taken over all ranks. Only where a batch has fewer cases than there are ranks are
    some visited twice, for no rank may be left without; measures must therefore be de-duplicated by case.

    Parameters
    ----------
    sampler : EpochSampler
    batch_size : int
        Cases of one rank.
    rank, ranks : int
        Which share to hand out, of how many.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        assert batch_size > 0 and 0 <= rank < ranks
        self.sampler = sampler
        self.batch_size = batch_size
        self.start = 0
        self._rank, self._ranks = rank, ranks

    def __iter__(self) -> Iterator[list[Visit]]:
        visits = list(self.sampler)
        ends = np.cumsum(self.sizes).tolist()
        starts = [0, *ends[:-1]]
        return (self._share(visits[start:end]) for start, end in list(zip(starts, ends, strict=True))[self.start :])

    def _share(self, batch: list[Visit]) -> list[Visit]:
        return batch[self._rank :: self._ranks] or [batch[self._rank % len(batch)]]

    def __len__(self) -> int:
        return -(-len(self.sampler) // (self.batch_size * self._ranks))

    @property
    def sizes(self) -> list[int]:
        """Visits of each batch of an epoch, of all ranks together."""
        return [len(part) for part in np.array_split(np.arange(len(self.sampler)), len(self))]


def weights_by(name: str, cases: Sequence[Case], findings: Sequence[Finding]) -> NDArray[np.float64]:
    """Weigh by the finding of a name; see :func:`balanced_weights`.

    Raises
    ------
    TrainingError
        No finding has the name, or none of its weights is possible.
    """
    by_name = {finding.name: finding for finding in findings}
    if name not in by_name:
        known = ", ".join(by_name) or "none"
        raise TrainingError(f"data.balance names {name!r}, the manifest's findings are: {known}.", "Name one of them.")
    return balanced_weights(cases, by_name[name])


def balanced_weights(cases: Sequence[Case], finding: Finding) -> NDArray[np.float64]:
    """Weights that visit each class of a finding equally often; a case of unknown class keeps its plain share.

    Raises
    ------
    TrainingError
        The finding is multilabel (a case has no single class), or a class has no case.
    """
    if finding.kind is FindingKind.MULTILABEL:
        raise TrainingError(
            f"Sampling cannot be balanced by {finding.name}: it is multilabel, a case has no single class.",
            "Balance by another finding, or weight the loss instead.",
        )
    labels = np.array([case.encoded_label(finding)[0] for case in cases])
    known = labels[labels != UNKNOWN]
    counts = np.bincount(known, minlength=len(finding.classes))
    if not counts.all():
        absent = ", ".join(name for name, n in zip(finding.classes, counts, strict=True) if not n)
        raise TrainingError(
            f"Sampling cannot be balanced by {finding.name}: no training case is {absent}.", "Check the labels."
        )
    weights = np.ones(len(cases))
    weights[labels != UNKNOWN] = known.size / (len(finding.classes) * counts[known])
    return weights
