"""From the grid of a feature map to that of the image, voxel for voxel.

Every layer of our networks pads half its kernel (``kernel // 2``), so a layer of stride s centres its output j on input
``j * s``, and a chain of layers centres cell j on ``j * S``, S the product of their strides: the first cell lies on the
first voxel, not in the middle of the first S voxels. Half-pixel conventions (``align_corners=False`` of torch) would
move a heatmap by (S - 1) / 2 voxels towards the end of each axis. A pooled shortcut (``average_shortcut``) alone sees
half a voxel of its input further on.
"""

import numpy as np
from numpy.typing import NDArray


def stride_of(voxels: int, cells: int) -> int:
    """Stride S between cells along one axis: the power of two with ``cells = ceil(voxels / S)``.

    Each downsampling halves an axis or leaves it, an odd length rounded up. With two cells or more just one S fits;
    a single cell stands for the whole axis, whatever S is.
    """
    stride = 1
    while -(-voxels // stride) > cells:
        stride *= 2
    assert -(-voxels // stride) == cells, f"{cells} cells are no halvings of {voxels} voxels"
    return stride


def onto_image(heat: NDArray[np.floating], size: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate a map linearly between the centres of its cells; beyond the last centre its value goes on.

    Parameters
    ----------
    heat : ndarray, shape (*cells)
    size : tuple of int
        Voxels of the image along each axis.
    """
    out = np.asarray(heat, dtype=np.float32)
    for axis, voxels in enumerate(size):
        cells = out.shape[axis]
        if cells != voxels:
            weights = _weights(voxels, cells)
            out = np.moveaxis(np.tensordot(weights, out, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(out, dtype=np.float32)


def _weights(voxels: int, cells: int) -> NDArray[np.float32]:
    """Weight of each cell in each voxel, shape (voxels, cells); each row sums to 1."""
    position = np.minimum(np.arange(voxels) / stride_of(voxels, cells), cells - 1)
    distance = np.abs(position[:, np.newaxis] - np.arange(cells))
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)
