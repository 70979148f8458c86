"""What is said where few validation cases chose the best of many epochs."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.encoding import label_slices
from pipeline.domain.finding import Finding
from pipeline.training.selection import one_vs_rest

FEW = 50
"""Of the rarest answer: with fewer the standard error of an AUROC of 0.85 is 0.035 and more (Hanley and McNeil 1982),
which is as much as late epochs of a training differ."""


def rarest_answer(findings: Sequence[Finding], labels: NDArray[np.int64]) -> int:
    """Count the cases of the rarest answer, a class of a finding or its absence.

    Parameters
    ----------
    labels : ndarray of int64, shape (n, columns)
        Of the validation split.
    """
    counts = [
        int((known & (is_class == answer)).sum())
        for finding, columns in zip(findings, label_slices(findings), strict=True)
        for _, _, is_class, known in one_vs_rest(finding, labels[:, columns])
        for answer in (True, False)
    ]
    return min(counts)


def chosen_by_few(history: Sequence[Mapping[str, float]], best_epoch: int, cases: int, rarest: int) -> tuple[str, ...]:
    """Say that the best AUROC of many epochs on few cases owes something to chance; nothing where there are enough.

    Parameters
    ----------
    best_epoch : int
        Counted from 1, chosen by AUROC.
    cases, rarest : int
        Validation cases, and those of the rarest answer.
    """
    if rarest >= FEW or best_epoch == len(history):
        return ()
    best, last = history[best_epoch - 1]["val/auroc"], history[-1]["val/auroc"]
    return (
        f"Epoch {best_epoch} is the best of {len(history)} by AUROC, {best:.3f}; the last has {last:.3f}. It was "
        f"chosen on {cases} validation cases, {rarest} of them of the rarest answer, and so few choose partly by "
        "chance: training.monitor=last keeps the last epoch, and validation then measures without having chosen.",
    )
