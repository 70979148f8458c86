"""What follows from how often training shows each class: weights, log frequencies, and what cannot be learned."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import UNKNOWN
from pipeline.domain.encoding import label_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.errors import TrainingError
from pipeline.training.loss_settings import ClassWeights

Counts = NDArray[np.int64] | NDArray[np.float64]
Visits = NDArray[np.float64]
Floats = NDArray[np.float32]


def class_weights(
    findings: Sequence[Finding],
    labels: NDArray[np.int64],
    kind: ClassWeights = "balanced",
    beta: float = 0.999,
    visits: Visits | None = None,
) -> list[Floats]:
    """Weights of the classes, mean 1 over the known training labels; a class that training never shows weighs 1.

    Parameters
    ----------
    labels : ndarray of int64, shape (cases, columns)
        Of the training split; -1 is unknown.
    kind : str
        ``balanced``: by the inverse of the class counts. ``effective_number``: by the inverse of the effective number
        of cases ``(1 - beta^n) / (1 - beta)`` (Cui et al. 2019). ``none``: all 1.
    visits : ndarray, shape (cases,), optional
        Each case counts as often as an epoch visits it; once by default.

    Returns
    -------
    list of ndarray of float32
        Of each finding: shape (classes,), or (classes, 2) for absent and present if multilabel.
    """

    def weights(counts: Counts) -> Floats:
        if kind == "none":
            return np.ones(len(counts), dtype=np.float32)
        # expm1 and log1p: 1 - beta^n would lose all digits where beta is near 1
        effective = counts if kind == "balanced" else -np.expm1(counts * np.log(beta))
        inverse = np.divide(1.0, effective, out=np.zeros(len(counts)), where=counts > 0)
        mean = (inverse * counts).sum() / max(counts.sum(), 1)
        return np.asarray(np.where(counts > 0, inverse / (mean or 1.0), 1.0), dtype=np.float32)

    return _of_each(findings, labels, weights, visits)


def log_frequencies(
    findings: Sequence[Finding], labels: NDArray[np.int64], visits: Visits | None = None
) -> list[Floats]:
    """Natural logarithm of the share of each class in the known training labels; see :func:`class_weights`.

    A class that training never shows counts as one case, so that the logarithm is finite.
    """

    def logarithms(counts: Counts) -> Floats:
        shown = np.maximum(counts, 1)
        return np.asarray(np.log(shown / shown.sum()), dtype=np.float32)

    return _of_each(findings, labels, logarithms, visits)


def check_learnable(findings: Sequence[Finding], labels: NDArray[np.int64]) -> None:
    """Refuse a finding of which training shows one answer only: there is nothing to tell apart.

    Raises
    ------
    TrainingError
        Naming the finding.
    """
    for finding, where in zip(findings, label_slices(findings), strict=True):
        for number, column in enumerate(labels[:, where].T):
            known = column[column != UNKNOWN]
            if len(np.unique(known)) < 2:
                name = (
                    f"{finding.name}, class {finding.classes[number]}" if where.stop - where.start > 1 else finding.name
                )
                raise TrainingError(
                    f"{name}: the {len(known)} known labels of the training split do not differ.",
                    "Check the labels and the split; leave this finding out if it cannot be learned.",
                )


def _of_each(
    findings: Sequence[Finding],
    labels: NDArray[np.int64],
    function: Callable[[Counts], Floats],
    visits: Visits | None,
) -> list[Floats]:
    """Apply a function to the class counts of each finding, of each class of a multilabel one."""
    found = []
    for finding, where in zip(findings, label_slices(findings), strict=True):
        columns = labels[:, where]
        if finding.kind is FindingKind.MULTILABEL:
            found.append(np.stack([function(_counts(column, 2, visits)) for column in columns.T]))
        else:
            found.append(function(_counts(columns[:, 0], len(finding.classes), visits)))
    return found


def _counts(labels: NDArray[np.int64], classes: int, visits: Visits | None) -> Counts:
    known = labels != UNKNOWN
    return np.bincount(labels[known], weights=None if visits is None else visits[known], minlength=classes)
