"""Limits of scores, from scans that were held out of whatever scored them.

Detectors that score the same held-out scans share one allowance: each gets as limit its r-th largest held-out score
(or, if it looks for an error of a known kind, some multiple of r), and r is the largest number with which no more than
the allowed share of held-out scans reaches any of the limits. A further scan that is exchangeable with them is then
refused as often, for it is one of m + 1 of which each is equally likely to be the new one (conformal prediction: Vovk
et al. 2005); detectors that refuse the same scans do not count twice.

Where they are too few for any r, and for the features, whose held-out scans are fewer, the limit is at least the
one-sided prediction bound of a normal distribution, mean + t(m - 1) * sd * sqrt(1 + 1 / m), at an equal part of the
allowance each (Bonferroni), or the largest held-out score if that is higher. Distances enter as logarithms, which are
near to normal.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

REFUSED = 0.025
"""Share of scans in scope that all detectors of images together may refuse."""

REFUSED_BY_FEATURES = 0.01
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
    order = np.argsort(-table, axis=1, kind="stable")
    ordered = np.take_along_axis(table, order, axis=1)
    places = np.argsort(order, axis=1, kind="stable")
    count = table.shape[1]
    steps = max(multiples.get(name, 1) for name in names)
    best: list[float] | None = None
    for step in range(1, steps * count + 1):
        ranks = [min(max(1, multiples.get(name, 1) * step // steps), count) for name in names]
        limits = [float(row[rank - 1]) for row, rank in zip(ordered, ranks, strict=True)]
        reached = int((places < np.array(ranks)[:, np.newaxis]).any(axis=0).sum())  # of equal scores, one is enough
        if reached > allowance * (count + 1):
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
    from scipy import stats

    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    count = len(ordered)
    rank = math.ceil((count + 1) * (1 - part) - 1e-9)
    if rank <= count:
        return float(ordered[rank - 1])
    quantile = float(stats.t.ppf(1 - part, count - 1))
    bound = float(ordered.mean()) + quantile * float(ordered.std(ddof=1)) * math.sqrt(1 + 1 / count)
    return max(bound, float(ordered[-1]))


def limit_beside(scores: Sequence[float], others: Sequence[float], part: float) -> float:
    """Limit of few held-out scores, no lower than the shape of many other scores asks for.

    A normal distribution falls off faster than the distances of features do. So the distance of the limit from the
    median is at least what it is among `others`, scaled up where the held-out scores spread more.

    Parameters
    ----------
    scores : sequence of float
        Held-out scores, at least 2.
    others : sequence of float
        Scores of cases that the network was trained on, which are too small as they are.
    """
    alone = limit_of(scores, part)
    if len(others) < 2:
        return alone
    spread, usual = (float(np.subtract(*np.percentile(row, [75, 25]))) for row in (scores, others))
    reach = limit_of(others, part) - float(np.median(others))
    return max(alone, float(np.median(scores)) + reach * max(1.0, spread / max(usual, 1e-12)))
