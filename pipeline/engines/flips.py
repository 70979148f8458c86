"""Test-time augmentation by mirroring: part of the package, so that evaluate and predict agree."""

from collections.abc import Callable, Sequence
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def flip_combinations(axes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """All subsets of `axes`, the empty one (no flip) first: 2 to the power of ``len(axes)`` of them."""
    ordered = sorted(set(axes))
    return tuple(chain.from_iterable(combinations(ordered, count) for count in range(len(ordered) + 1)))


def average_over_flips(run: Callable[[Image], Image], image: Image, axes: Sequence[int]) -> Image:
    """Mean of the logits over the image and its mirror images along every combination of `axes`.

    Parameters
    ----------
    run : callable
        (1, c, *space) to (1, outputs).
    image : ndarray, shape (1, c, *space)
    axes : sequence of int
        Spatial axes, 0 is the first of ``space``. Empty: the image is run once, as it is.

    Returns
    -------
    ndarray of float32, shape (1, outputs)
        Summed in float64 in a fixed order, so that equal inputs give equal bits.
    """
    subsets = flip_combinations(axes)
    if len(subsets) == 1:
        return run(image)
    rows = [run(np.ascontiguousarray(np.flip(image, tuple(axis + 2 for axis in subset)))) for subset in subsets]
    mean: NDArray[np.float64] = np.stack(rows).mean(axis=0, dtype=np.float64)
    return mean.astype(np.float32)
