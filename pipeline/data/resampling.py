"""Linear interpolation of an image under an affine map, compiled: one case on one core, no temporary of its size.

A row of the output is a straight line through the input, so that its coordinates, cells and weights are three short
loops without branches, and the eight voxels of a cell are weighed in a fourth. Compiled (Numba, LLVM) this runs at a
few nanoseconds a voxel, several times as fast as ``grid_sample``, which first needs a grid of three times the image's
memory. Multiplications and additions are not fused: a row comes out alike on every processor, in every thread.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.data.settings import AugmentationChoice

Floats = NDArray[np.float32]

Kernel = Callable[[Floats, Floats, Floats, Floats], None]

SIGNATURE = "void(float32[:,:,:,::1], float32[:,:,:,::1], float32[:,::1], float32[::1])"

INDICES = 2**31
"""Voxels of a channel that the kernel's 32-bit indices reach."""


@functools.cache
def kernel() -> Kernel | None:
    """Compile :func:`_sample` for this processor (1 to 2 s, once a process); None where Numba cannot be used.

    It is compiled here rather than loaded from Numba's cache on disk, which is pickled machine code. Call it before
    worker processes are forked: they inherit it.
    """
    if resampler() != "numba":
        return None
    import numba

    compiled: Kernel = numba.njit(SIGNATURE, nogil=True, error_model="numpy")(_sample)
    return compiled


@functools.cache
def resampler() -> Literal["numba", "torch"]:
    """Who interpolates here; the results of the two agree within rounding, not bit for bit."""
    try:
        from numba.core.config import DISABLE_JIT  # type: ignore[attr-defined] # made while it is imported
    except ImportError:
        return "torch"
    return "torch" if DISABLE_JIT else "numba"


def facts(settings: AugmentationChoice) -> dict[str, str]:
    """Tell what a run records, and needs again to go on bit for bit: who interpolates, where anything does or may."""
    return {"interpolation": resampler()} if settings.interpolates else {}


def resample(image: Floats, matrix: NDArray[np.float64], offset: NDArray[np.float64], out: Floats) -> None:
    """Fill `out` from `image`: output voxel o holds the input at ``matrix @ o + offset``.

    Linear interpolation; outside, the edge is repeated. Lets other threads run. Needs :func:`kernel`.

    Parameters
    ----------
    image, out : ndarray of float32, shape (c, *space)
        Two or three spatial axes, C order, of one shape. The shape of a channel is at most 2**31 voxels.
    matrix : ndarray, shape (ndim, ndim)
    offset : ndarray, shape (ndim,)
        In voxels of the input, whose first has index 0.
    """
    compiled = kernel()
    assert compiled is not None, "Numba is not here"
    assert image.shape == out.shape and image.flags.c_contiguous and out.flags.c_contiguous
    assert math.prod(image.shape[1:]) < INDICES
    assert np.isfinite(matrix).all() and np.isfinite(offset).all(), "coordinates must be finite"
    ndim = image.ndim - 1
    whole, start = np.eye(3), np.zeros(3)
    whole[3 - ndim :, 3 - ndim :], start[3 - ndim :] = matrix, offset
    shape = (image.shape[0],) + (1,) * (3 - ndim) + image.shape[1:]
    compiled(image.reshape(shape), out.reshape(shape), whole.astype(np.float32), start.astype(np.float32))


def _sample(image: Floats, out: Floats, matrix: Floats, offset: Floats) -> None:
    """Interpolate row by row; a plain function, so that it can be read, tested and compiled."""
    channels, ni, nj, nk = image.shape
    flat = image.reshape(-1)
    zero, one = np.float32(0), np.float32(1)
    strides = np.array([nj * nk, nk, 1], np.int32)
    edge = np.array([ni - 1, nj - 1, nk - 1], np.float32)
    last = np.array([max(ni - 2, 0), max(nj - 2, 0), max(nk - 2, 0)], np.int32)
    # unsigned: a signed index would be tested for counting from the end. An axis of one voxel has no neighbour
    di, dj, dk = np.uintp(nj * nk if ni > 1 else 0), np.uintp(nk if nj > 1 else 0), np.uintp(1 if nk > 1 else 0)
    cells = np.empty(nk, np.int32)
    weights = np.empty((3, nk), np.float32)
    wi, wj, wk = weights[0], weights[1], weights[2]
    for i in range(ni):
        for j in range(nj):
            cells[:] = 0
            for axis in range(3):
                base = offset[axis] + matrix[axis, 0] * np.float32(i) + matrix[axis, 1] * np.float32(j)
                step, high, low, stride, weight = matrix[axis, 2], edge[axis], last[axis], strides[axis], weights[axis]
                for k in range(nk):
                    at = min(max(base + step * np.float32(np.int32(k)), zero), high)
                    cell = min(np.int32(at), low)
                    weight[k] = at - np.float32(cell)
                    cells[k] += cell * stride
            for channel in range(channels):
                source = flat[channel * ni * nj * nk : (channel + 1) * ni * nj * nk]
                row = out[channel, i, j]
                for k in range(nk):
                    p = np.uintp(cells[k])
                    q = p + di
                    fi, fj, fk = wi[k], wj[k], wk[k]
                    gi, gj, gk = one - fi, one - fj, one - fk
                    near = (source[p] * gk + source[p + dk] * fk) * gj
                    near += (source[p + dj] * gk + source[p + dj + dk] * fk) * fj
                    far = (source[q] * gk + source[q + dk] * fk) * gj
                    far += (source[q + dj] * gk + source[q + dj + dk] * fk) * fj
                    row[k] = near * gi + far * fi
