"""What a metric looks at: truth, probabilities and decisions of one question, case by case."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.finding import FindingKind

Weights = NDArray[np.float64]
"""Shape (rows, n): each row weighs the n cases of a sample; a bootstrap resample has whole numbers."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Cases whose truth is known for one question.

    A multilabel finding is one binary sample a class, so ``kind`` is never multilabel.

    Attributes
    ----------
    kind : FindingKind
        Binary, multiclass or ordinal.
    truth : ndarray of int, shape (n,)
        Class index; binary: 1 is positive.
    probabilities : ndarray of float, shape (n, classes)
        Calibrated; rows sum to 1.
    decided : ndarray of int, shape (n,)
        Class index at the frozen operating point.
    patients : ndarray of int, shape (n,)
        Which patient each case belongs to, counted over the whole evaluation.
    """

    kind: FindingKind
    truth: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    decided: NDArray[np.int64]
    patients: NDArray[np.int64]

    def __post_init__(self) -> None:
        n = len(self.truth)
        assert self.kind is not FindingKind.MULTILABEL, "a multilabel finding is one binary sample a class"
        assert self.probabilities.ndim == 2, self.probabilities.shape
        assert self.kind is not FindingKind.BINARY or self.classes == 2
        assert len(self.probabilities) == len(self.decided) == len(self.patients) == n
        assert n == 0 or (self.truth.min() >= 0 and self.truth.max() < self.classes), "truth must be known"

    @property
    def cases(self) -> int:
        """Number of cases n."""
        return len(self.truth)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.probabilities.shape[1])

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Binary: which cases have the finding."""
        return np.asarray(self.truth == 1)

    @property
    def score(self) -> NDArray[np.float64]:
        """Binary: probability of the positive class."""
        return self.probabilities[:, 1]

    def one_vs_rest(self, index: int) -> "Sample":
        """Binary sample of the question whether it is this class."""
        own = self.probabilities[:, index]
        return Sample(
            kind=FindingKind.BINARY,
            truth=(self.truth == index).astype(np.int64),
            probabilities=np.stack([1.0 - own, own], axis=1),
            decided=(self.decided == index).astype(np.int64),
            patients=self.patients,
        )

    def where(self, kept: NDArray[np.bool_]) -> Self:
        """Part of the cases; `kept` has shape (n,)."""
        return type(self)(
            self.kind, self.truth[kept], self.probabilities[kept], self.decided[kept], self.patients[kept]
        )
