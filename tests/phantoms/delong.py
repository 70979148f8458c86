"""DeLong, DeLong and Clarke-Pearson 1988: the variance of an AUROC by its structural components. An oracle."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm


def delong(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> tuple[float, float, float]:
    """AUROC and its 95% interval, clipped to [0, 1]."""
    ups, downs = scores[positive], scores[~positive]
    wins = (ups[:, np.newaxis] > downs) + 0.5 * (ups[:, np.newaxis] == downs)
    area = wins.mean()
    variance = wins.mean(axis=1).var(ddof=1) / len(ups) + wins.mean(axis=0).var(ddof=1) / len(downs)
    half = norm.ppf(0.975) * np.sqrt(variance)
    return float(area), max(0.0, float(area - half)), min(1.0, float(area + half))
