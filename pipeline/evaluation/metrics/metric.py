"""What every metric does: many weightings of the same cases at once."""

from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.finding import FindingKind
from pipeline.evaluation.sample import Sample, Weights

BINARY = frozenset({FindingKind.BINARY})
CLASSES = frozenset({FindingKind.BINARY, FindingKind.MULTICLASS, FindingKind.ORDINAL})
"""Any number of classes, exactly one of which is true."""


class Needs(StrEnum):
    """What of a prediction a metric judges."""

    PROBABILITIES = "probabilities"
    DECISIONS = "decisions"


class Metric(Protocol):
    """One figure of merit.

    Attributes
    ----------
    name, title : str
        Column name (that of its file), and as people read it.
    kinds : frozenset of FindingKind
        Samples that it serves.
    undefined : str
        When it has no value, in words.
    """

    name: str
    title: str
    kinds: frozenset[FindingKind]
    needs: Needs
    higher_is_better: bool
    undefined: str

    def values(self, sample: Sample, weights: Weights) -> NDArray[np.float64]:
        """Value under each row of weights (rows, n), shape (rows,); NaN marks a row under which it is not defined."""

    def trials(self, sample: Sample) -> NDArray[np.bool_] | None:
        """Cases that a proportion counts over, shape (n,); None for a metric that is no proportion."""


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide; NaN where the denominator is 0."""
    out = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.asarray(np.divide(numerator, denominator, out=out, where=denominator > 0))


def tie_groups(scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order of falling score, and where each group of equal scores starts in it."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(ordered) else order
    return order, starts.astype(np.int64)


def grouped(weights: Weights, starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum of ordered weights (rows, n) within each group, shape (rows, groups)."""
    return np.add.reduceat(weights, starts, axis=1) if len(starts) else np.zeros((len(weights), 0))


def pairs(sample: Sample, weights: Weights) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of the pairs whose positive case scores above the negative one (ties half), and of all pairs: (rows,)."""
    order, starts = tie_groups(sample.score)
    ordered, positive = weights[:, order], sample.positive[order].astype(float)
    ups, downs = grouped(ordered * positive, starts), grouped(ordered * (1.0 - positive), starts)
    above = np.cumsum(ups, axis=1) - 0.5 * ups  # positives that score above a group, half of those within it
    return np.sum(downs * above, axis=1), ups.sum(axis=1) * downs.sum(axis=1)


def confusion(sample: Sample, weights: Weights) -> NDArray[np.float64]:
    """Weight of each (truth, decision), shape (rows, classes, classes)."""
    cells = np.zeros((sample.cases, sample.classes**2))
    cells[np.arange(sample.cases), sample.truth * sample.classes + sample.decided] = 1.0
    return (weights @ cells).reshape(len(weights), sample.classes, sample.classes)
