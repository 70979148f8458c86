"""Every n-th line of an image, where all of them would take too long to look at."""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


def thinned(image: NDArray[Scalar], most: int, *, keep: int | None = None) -> NDArray[Scalar]:
    """View of an image with at most some `most` voxels (up to rounding), strided alike along each axis.

    Parameters
    ----------
    keep : int, optional
        Axis that is kept whole, for what is measured between neighbours along it.
    """
    axes = [axis for axis in range(image.ndim) if axis != keep and image.shape[axis] > 1]
    if image.size <= most or not axes:
        return image
    step = max(1, math.ceil((image.size / most) ** (1 / len(axes)) - 1e-9))
    return image[tuple(slice(None, None, step if axis in axes else 1) for axis in range(image.ndim))]
