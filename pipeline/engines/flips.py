"""Test-time augmentation by mirroring: part of the package, so that evaluate and predict agree."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.flips import flip_combinations

Image = NDArray[np.float32]

TOGETHER = 2**21
"""Voxels that are run at once: eight mirror images of 64 cubed. A network spends most of the time of one small image on
its weights; of large ones a batch would take memory that a single one does not."""


def average_over_flips(run: Callable[[Image], Image], image: Image, axes: Sequence[int]) -> Image:
    """Mean of the rows over the image and its mirror images along every combination of `axes`.

    Parameters
    ----------
    run : callable
        (n, c, *space) to (n, columns): logits and features.
    image : ndarray, shape (1, c, *space)
    axes : sequence of int
        Spatial axes, 0 is the first of ``space``. Empty: the image is run once, as it is.

    Returns
    -------
    ndarray of float32, shape (1, columns)
        Summed in float64 in a fixed order, and batched by the size of the image alone, so that equal inputs give equal
        bits.
    """
    subsets = flip_combinations(axes)
    if len(subsets) == 1:
        return run(image)
    at_once = max(1, TOGETHER // image.size)
    rows = [run(_mirrored(image, subsets[start : start + at_once])) for start in range(0, len(subsets), at_once)]
    mean: NDArray[np.float64] = np.concatenate(rows).mean(axis=0, keepdims=True, dtype=np.float64)
    return mean.astype(np.float32)


def _mirrored(image: Image, subsets: Sequence[Sequence[int]]) -> Image:
    return np.concatenate([np.flip(image, tuple(axis + 2 for axis in subset)) for subset in subsets])
