"""What an image looks like, in few bits: a thumbnail that exposure and sampling hardly change, and its hash.

At 32 voxels a side no face and no text can be made out, so that both may be kept where no patient may be named.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.geometry import Geometry
from pipeline.domain.volume import Volume

SIDE = 32
"""Voxels of a thumbnail along each axis."""

FREQUENCIES = {2: 16, 3: 7}
"""Lowest cosine frequencies kept along each axis, by dimension: 255 and 342 bits without the constant one."""

HEX_DIGITS = {ndim: 2 * -(-(count**ndim - 1) // 8) for ndim, count in FREQUENCIES.items()}
"""Length of a hash, by dimension."""

PERCENTILES = (1.0, 99.0)
"""Of the averaged intensities: between them a thumbnail runs from black to white."""

WHITE = {2: 255, 3: 31}
"""Value of the brightest voxels, by dimension: in 3D few levels, so that thousands of thumbnails fit in a file."""

LEAST = 1e-6
"""Part of the largest possible amplitude below which a frequency is absent: its sign would be that of rounding."""


def thumbnail(volume: Volume) -> NDArray[np.uint8]:
    """Average the channels of a volume in RAS+ order over SIDE equal parts of each axis.

    Returns
    -------
    ndarray of uint8, shape (32, 32, 32), of a 2D image (32, 32); from 0 to :data:`WHITE`
    """
    parts = _averaged(volume)
    parts = parts[:, :, 0] if volume.is_2d else _canonical(parts, volume.geometry)
    low, high = np.percentile(parts, PERCENTILES)
    if high <= low:  # a small bright thing on an even ground, a mask for one
        low, high = parts.min(), parts.max()
    scaled = np.clip((parts - low) / max(high - low, np.finfo(np.float64).tiny), 0.0, 1.0)
    return np.asarray(np.rint(WHITE[parts.ndim] * scaled), dtype=np.uint8)


def perceptual_hash(thumb: NDArray[np.uint8]) -> str:
    """Signs of the low frequencies of the cosine transform (DCT-II), as hex.

    Copies of an image differ in few bits, after Zauner, Implementation and benchmarking of perceptual image hash
    functions, 2010.
    """
    count = FREQUENCIES[thumb.ndim]
    waves = np.cos(np.pi * np.arange(count)[:, None] * (np.arange(SIDE) + 0.5) / SIDE)
    found = thumb.astype(np.float64)
    for _ in range(thumb.ndim):
        found = np.moveaxis(np.tensordot(waves, found, (1, 0)), 0, -1)
    return np.packbits(found.ravel()[1:] > LEAST * WHITE[thumb.ndim] * thumb.size).tobytes().hex()


def _averaged(volume: Volume) -> NDArray[np.float64]:
    """Area average over SIDE equal parts of each axis in stored order, slice by slice: memory stays that of a slice."""
    across, down, along = (_weights(length) for length in volume.geometry.shape)
    parts = np.zeros((SIDE, SIDE, len(along)))
    narrow, low = across.astype(np.float32), down.astype(np.float32).T
    for k in range(volume.geometry.shape[2]):
        image = volume.voxels[0, :, :, k] if volume.channels == 1 else volume.voxels[:, :, :, k].mean(axis=0)
        small = narrow @ image @ low
        for part in np.flatnonzero(along[:, k]):
            parts[:, :, part] += along[part, k] * small
    return parts


def _weights(length: int) -> NDArray[np.float64]:
    """Shares of each voxel in the SIDE equal parts of an axis, which may cut voxels; one voxel is a 2D image's k."""
    if length == 1:
        return np.ones((1, 1))
    edges = np.linspace(0.0, length, SIDE + 1)
    voxels = np.arange(length)
    shared = np.minimum(edges[1:, None], voxels + 1.0) - np.maximum(edges[:-1, None], voxels)
    return np.asarray(np.maximum(shared, 0.0) * (SIDE / length), dtype=np.float64)


def _canonical(parts: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    """Reorder parts of equal number along each axis as :meth:`Volume.canonical` does voxels."""
    orientation = geometry.orientation()
    turned = np.transpose(parts, [axis for axis, _ in orientation])
    return np.flip(turned, tuple(world for world, (_, sign) in enumerate(orientation) if sign < 0))
