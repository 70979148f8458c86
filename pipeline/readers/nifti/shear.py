"""A sheared affine: refused, or brought onto a straight grid where `read.mend.tilt` asks for it."""

import itertools

import numpy as np

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Geometry
from pipeline.errors import RejectedInput
from pipeline.readers.options import ReadOptions
from pipeline.readers.resampling import GRID_TOLERANCE, Resampling, check_size

NOTE = "MENDED: a sheared affine was resampled to a straight grid"


def straightened(stored: Geometry, options: ReadOptions) -> Resampling | None:
    """How a sheared volume is resampled; None where it is straight.

    The axes of the straight grid are those of the stored one made orthogonal, i first, then j: the stored affine is
    the straight one times an upper triangular matrix of ones on the diagonal, so that no slice mixes with another.
    The grid grows within the slices by whole voxels until it holds all of them.

    Raises
    ------
    RejectedInput
        SHEAR where it is not to be mended; TOO_LARGE.
    """
    if stored.is_orthogonal:
        return None
    if not options.mend.tilt:
        raise RejectedInput(Code.SHEAR, "the affine is sheared: its axes are not at right angles")
    axes, triangle = np.linalg.qr(stored.matrix[:3, :3])
    lengths = np.diag(triangle)
    shear = triangle / lengths[:, np.newaxis]  # stored index to straight index
    corners = np.array(list(itertools.product(*[(0, size - 1) for size in stored.shape])), dtype=np.float64)
    reached = corners @ shear.T
    low = np.floor(reached.min(0) + GRID_TOLERANCE)
    high = np.ceil(reached.max(0) - GRID_TOLERANCE)
    columns, rows, slices = (int(value) for value in high - low + 1)
    check_size((columns, rows, slices), options.max_bytes)
    matrix = np.eye(4)
    matrix[:3, :3] = axes * lengths
    matrix[:3, 3] = stored.matrix[:3, 3] + matrix[:3, :3] @ low
    back = np.linalg.inv(shear)
    k = np.arange(slices)
    in_plane = np.zeros((slices, 2, 3))
    in_plane[:, :, :2] = back[:2, :2]
    in_plane[:, :, 2] = back[:2, :2] @ low[:2] + k[:, np.newaxis] * back[:2, 2]
    return Resampling(
        Geometry.from_matrix((columns, rows, slices), matrix, stored.unit), in_plane, k.astype(np.float64)
    )
