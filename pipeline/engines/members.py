"""Ensembles: the logits of several networks become one answer.

The logits are averaged, not the probabilities: one temperature and one threshold, fitted to means, then serve the whole
ensemble as they serve one network (pool, then calibrate: Rahaman and Thiery 2021, *Uncertainty Quantification and Deep
Ensembles*; an average of calibrated probabilities is under-confident and would have to be calibrated once more), and
flips and members are averaged alike. For two classes it is the geometric mean of the members' odds.

Features are those of the first member: a mean of several networks' features is the feature of none, and of the members
of folds each has cases of its own that it was not trained on, to which new scans can be compared.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def average_over_members(runs: Sequence[Callable[[Image], Image]], image: Image, outputs: int) -> Image:
    """Mean of the members' logits, and the features of the first member.

    Parameters
    ----------
    runs : sequence of callable
        Each (n, c, *space) to (n, columns): logits, then features.
    image : ndarray, shape (1, c, *space)
    outputs : int
        How many columns are logits.

    Returns
    -------
    ndarray of float32, shape (n, columns)
        Summed in float64 in the order of the members, so that equal inputs give equal bits.
    """
    if len(runs) == 1:
        return runs[0](image)
    rows = [run(image) for run in runs]
    mean: NDArray[np.float64] = np.stack([row[:, :outputs] for row in rows]).mean(axis=0, dtype=np.float64)
    return np.concatenate([mean.astype(np.float32), rows[0][:, outputs:]], axis=1)
