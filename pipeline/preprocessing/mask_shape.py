"""What can be measured of the shape of a mask: how much there is of it, how long it is and how thick."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MEASURES = ("volume_ml", "surface_cm2", "thickness_mm", "thickest_mm", "length_mm", "breadth_mm", "depth_mm")
"""In the order of :func:`measure_mask`."""

SIGMAS = 4.0
"""Standard deviations of its voxels along an axis that are taken for the extent of a mask; of an ellipsoid 4.47 are."""


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
        :data:`MEASURES`: the volume; the area of the faces of voxels towards the outside, half as large again as the
        smooth surface of a ball; twice the distance from the centre of a voxel to that of the nearest one outside, as
        the mean along the middle of the mask and the largest, both up to a voxel more than the thickness; the extents
        along its three principal axes. All zero for an empty mask.
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
    extents = SIGMAS * np.sqrt(np.maximum(spread, 0.0))
    volume = int(np.count_nonzero(mask)) * cell
    return (
        volume / 1000,
        faces / 100,
        2 * float(distance[middle].mean()),
        2 * float(distance.max()),
        *(float(extent) for extent in extents),
    )
