"""What can be measured of the shape of a mask: how much there is of it, how long it is and how thick."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MEASURES = ("volume_ml", "surface_cm2", "thickness_mm", "thickest_mm", "length_mm", "breadth_mm", "depth_mm")
"""In the order of :func:`measure_mask`."""

EXTENT = 2 * math.sqrt(5)
"""Standard deviations of an ellipsoid's points along one of its axes that make the length of that axis."""


def measure_mask(mask: NDArray[np.bool_], spacing: Sequence[float]) -> tuple[float, ...]:
    """Measure a mask.

    Parameters
    ----------
    mask : ndarray of bool, shape (i, j, k)
    spacing : sequence of float
        Of i, j and k, in mm.

    Returns
    -------
    tuple of float
        In the order of :data:`MEASURES`, of all pieces together; all zero for an empty mask.

        volume
            Of the voxels.
        surface
            Of their faces towards the outside: half as large again as the smooth surface of a ball.
        thickness, thickest
            Twice the distance from the centre of a voxel to that of the nearest one outside, up to a voxel more than
            what is there: the mean along the middle of the mask, and the largest.
        length, breadth, depth
            Axes of the ellipsoid whose points spread as the voxels do.
    """
    if not mask.any():
        return (0.0,) * len(MEASURES)
    cell = float(np.prod(spacing))
    inside = np.pad(mask, 1)
    faces = sum(int(np.count_nonzero(np.diff(inside, axis=axis))) * cell / spacing[axis] for axis in range(inside.ndim))
    distance = ndimage.distance_transform_edt(inside, sampling=spacing)
    middle = inside & (distance >= ndimage.maximum_filter(distance, size=3))
    places = np.argwhere(mask) * np.asarray(spacing)
    spread = np.linalg.eigvalsh(np.cov(places.T, bias=True))[::-1]
    extents = EXTENT * np.sqrt(np.maximum(spread, 0.0))
    volume = int(np.count_nonzero(mask)) * cell
    return (
        volume / 1000,
        faces / 100,
        2 * float(distance[middle].mean()),
        2 * float(distance.max()),
        *(float(extent) for extent in extents),
    )
