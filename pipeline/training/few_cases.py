"""What is said where few validation cases chose the best of many epochs."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.encoding import label_slices
from pipeline.domain.finding import Finding
from pipeline.training.selection import one_vs_rest

LARGE = 0.03
"""Standard error of the AUROC from which on a choice by it is told as one by few: late epochs differ by no more."""


def error_of_mean(findings: Sequence[Finding], labels: NDArray[np.int64], auroc: float) -> float:
    """Estimate the standard error of a mean AUROC over classes and findings, as if all were equal and independent.

    Parameters
    ----------
    labels : ndarray of int64, shape (n, columns)
        Of the validation split. A class of which they know one answer alone has no AUROC and does not count.

    Returns
    -------
    float
        Zero where no class counts.
    """
    variances = []
    for finding, columns in zip(findings, label_slices(findings), strict=True):
        answers = [is_class[known] for _, _, is_class, known in one_vs_rest(finding, labels[:, columns])]
        counts = [(int(one.sum()), int((~one).sum())) for one in answers]
        errors = [standard_error(auroc, *both) for both in counts if min(both)]
        if errors:
            variances.append(math.fsum(error**2 for error in errors) / len(errors) ** 2)
    return math.sqrt(math.fsum(variances)) / len(variances) if variances else 0.0


def standard_error(auroc: float, positives: int, negatives: int) -> float:
    """Estimate the standard error of an AUROC (Hanley and McNeil 1982, *Radiology* 143:29)."""
    above, below = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    spread = auroc * (1 - auroc) + (positives - 1) * (above - auroc**2) + (negatives - 1) * (below - auroc**2)
    return math.sqrt(max(0.0, spread) / (positives * negatives))


def chosen_by_few(history: Sequence[Mapping[str, float]], best_epoch: int, error: float) -> tuple[str, ...]:
    """Say that the best AUROC of many epochs on few cases owes something to chance; nothing where there are enough.

    Parameters
    ----------
    best_epoch : int
        Counted from 1, chosen by AUROC.
    error : float
        Standard error of that AUROC.
    """
    if error < LARGE or best_epoch == len(history):
        return ()
    best, last = history[best_epoch - 1]["val/auroc"], history[-1]["val/auroc"]
    told = (
        f"Epoch {best_epoch} is the best of {len(history)} by AUROC, {best:.3f}, and validation is small (standard "
        f"error {error:.3f}): the best of many owes something to chance."
    )
    if best - last > error:
        return (told,)
    return (
        f"{told} The last epoch has {last:.3f}, no clear difference; in another run, training.monitor=last keeps it, "
        "and nothing is chosen.",
    )
