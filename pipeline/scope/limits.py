"""Limits of scores, from scans that were held out of whatever scored them.

Detectors that score the same held-out scans share one allowance: each gets as limit its r-th largest held-out score
(or, if it looks for an error of a known kind, a multiple of r), and r is the largest number with which all of them
together refuse at most the allowance. If the held-out scans are exchangeable with those to come, the latter are refused
as often (split conformal prediction: Vovk et al. 2005, of the joint rank; choosing r on the same scans costs little).

Where they are too few for any r, and for the features, whose held-out scans are fewer, the limit is the one-sided
prediction bound of a normal distribution, mean + t(m - 1) * sd * sqrt(1 + 1 / m), at an equal part of the allowance
each (Bonferroni), or the largest held-out score if that is higher. Distances enter as logarithms, which are near to
normal.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from scipy import stats

REFUSED = 0.02
"""Share of scans in scope that all detectors of images together may refuse."""

REFUSED_BY_FEATURES = 0.005
"""The same for the features of the network."""

Name = TypeVar("Name")


def joint_limits(
    scores: Mapping[Name, Sequence[float]], multiples: Mapping[Name, int], allowance: float = REFUSED
) -> dict[Name, float]:
    """Limits that together refuse at most a share `allowance` of held-out scans.

    Parameters
    ----------
    scores : mapping
        Detector to its scores of the same m scans, in the same order.
    multiples : mapping
        Detector to the multiple of r that it gets; 1 where it is not named.
    """
    names = list(scores)
    table = np.array([scores[name] for name in names], dtype=np.float64)
    ordered = np.sort(table, axis=1)[:, ::-1]
    count = table.shape[1]
    best: list[float] | None = None
    for rank in range(1, count + 1):
        limits = [
            float(row[min(multiples.get(name, 1) * rank, count) - 1]) for name, row in zip(names, ordered, strict=True)
        ]
        refused = int((table > np.array(limits)[:, np.newaxis]).any(axis=0).sum())
        if (refused + 1) / (count + 1) > allowance:
            break
        best = limits
    if best is None:
        best = [limit_of(scores[name], allowance / len(names)) for name in names]
    return dict(zip(names, best, strict=True))


def limit_of(scores: Sequence[float], part: float) -> float:
    """Limit that a further score of the same kind exceeds with a probability of about `part`, or less.

    Parameters
    ----------
    scores : sequence of float
        Held-out scores, at least 2.
    part : float
        Between 0 and 1. Where it allows to refuse a held-out scan, the limit is the held-out score of that rank.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    count = len(ordered)
    rank = math.ceil((count + 1) * (1 - part) - 1e-9)
    if rank <= count:
        return float(ordered[rank - 1])
    quantile = float(stats.t.ppf(1 - part, count - 1))
    bound = float(ordered.mean()) + quantile * float(ordered.std(ddof=1)) * math.sqrt(1 + 1 / count)
    return max(bound, float(ordered[-1]))
