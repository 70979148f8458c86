"""Sampling along one axis as a sparse matrix: the values of a line times it are those of the prepared line.

Blur and interpolation are both linear and both separable, so that only the samples that are kept are computed: a scan
that is made n times coarser costs an n-th of blurring it whole. The products are added up in one order, whatever
the number of threads.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

KERNEL_REACH = 4.0
"""The Gaussian of the anti-aliasing filter is cut at this many standard deviations."""


def line_matrix(places: NDArray[np.float64], count: int, sigma: float) -> sparse.csr_array:
    """Matrix that blurs a line and interpolates it linearly; what lies beyond its ends is as they are.

    Parameters
    ----------
    places : ndarray, shape (m,)
        Where the line is sampled, in voxels; beyond the ends, the end.
    count : int
        Voxels of the line.
    sigma : float
        Standard deviation of the Gaussian, in voxels; 0 leaves the line as it is.

    Returns
    -------
    csr_array of float32, shape (m, count)
        Rows of sum 1.
    """
    at = np.clip(places, 0, count - 1)
    below = np.floor(at).astype(np.intp)
    share = (at - below)[:, np.newaxis]
    kernel = _gaussian(sigma)
    radius = len(kernel) // 2
    taps = np.arange(-radius, radius + 2)
    weights = (1 - share) * np.append(kernel, 0.0) + share * np.append(0.0, kernel)
    columns = np.clip(below[:, np.newaxis] + taps, 0, count - 1)
    rows = np.broadcast_to(np.arange(len(at))[:, np.newaxis], columns.shape)
    kept = weights.ravel() > 0
    entries = (weights.ravel()[kept], (rows.ravel()[kept], columns.ravel()[kept]))
    return sparse.csr_array(sparse.coo_array(entries, shape=(len(at), count))).astype(np.float32)


def _gaussian(sigma: float) -> NDArray[np.float64]:
    """Weights of the Gaussian at whole voxels, of sum 1."""
    radius = int(KERNEL_REACH * sigma + 0.5)
    if radius == 0:
        return np.ones(1)
    weights = np.exp(-0.5 * np.square(np.arange(-radius, radius + 1) / sigma))
    found: NDArray[np.float64] = weights / weights.sum()
    return found


def reach_of(sigma: float) -> int:
    """Voxels on either side of a sample that enter it."""
    return math.ceil(KERNEL_REACH * sigma) + 2


def along_each(image: NDArray[np.float32], matrices: Sequence[sparse.csr_array | None]) -> NDArray[np.float32]:
    """Sample along all axes, coarser ones first; None leaves an axis as it is.

    Parameters
    ----------
    image : ndarray of float32
        Of any memory layout: the axes are gone through as they lie in memory.

    Returns
    -------
    ndarray of float32
        C-contiguous.
    """
    order = np.argsort([-abs(stride) for stride in image.strides], kind="stable")
    out = image.transpose(order)
    asked = [matrices[axis] for axis in order]
    steps = {number: matrix.shape[1] / matrix.shape[0] for number, matrix in enumerate(asked) if matrix is not None}
    finer = [number for number, step in steps.items() if step < 1]
    for number in [*(number for number in steps if number not in finer), *finer]:
        moved = np.moveaxis(out, number, 0)
        lines = np.ascontiguousarray(moved).reshape(len(moved), -1)
        sampled = np.asarray(asked[number] @ lines).reshape(-1, *moved.shape[1:])
        out = np.moveaxis(sampled, 0, number)
    return np.ascontiguousarray(out.transpose(np.argsort(order)))
