"""How a prepared image looks, in few numbers: its texture, and its coarse layout.

Both are taken from the prepared image alone, so that training cases are measured from the cache and new scans in the
worker that prepares them, by the same code.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.preprocessing.thinning import thinned

CELLS = {2: 16, 3: 8}
"""Cells of the layout along an axis, by the number of axes."""

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
TINY = 1e-6
VOXELS = 2**17
"""Voxels that differences and percentiles look at; of larger images every n-th line."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """What an image looks like.

    Attributes
    ----------
    texture : ndarray of float64, shape (t,)
        Of each channel: percentiles, spread, shape of the histogram, share of voxels at its ends; along each axis the
        differences of neighbours at two distances, the second difference, centre of mass and its spread; how the rim
        differs from the middle. Between channels: their correlations.
    layout : ndarray of float64, shape (maps, *cells)
        The channels and the magnitude of the gradient, averaged over equal cells of the field of view; each map has
        mean 0 and standard deviation 1, a constant one is 0.
    """

    texture: NDArray[np.float64]
    layout: NDArray[np.float64]


def appearance(image: NDArray[np.float32]) -> Appearance:
    """Measure a prepared image, shape (c, *space)."""
    texture = [number for channel in image for number in _texture(channel)]
    if len(image) > 1:
        flat = np.stack([thinned(channel, VOXELS).ravel() for channel in image]).astype(np.float64)
        flat -= flat.mean(axis=1, keepdims=True)
        norms = np.linalg.norm(flat, axis=1) + TINY
        correlations = (flat @ flat.T) / np.outer(norms, norms)
        texture += correlations[np.triu_indices(len(image), 1)].tolist()
    return Appearance(np.asarray(texture, dtype=np.float64), _layout(image))


def negative(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a prepared image over, each channel between its own ends; what pads the field of view stays."""
    out = np.empty_like(image)
    for number, channel in enumerate(image):
        low, high = channel.min(), channel.max()
        out[number] = low
        box = _field_of_view(channel != low)
        out[number][box] = low + high - channel[box]
    return out


def _field_of_view(inside: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Smallest box that holds all voxels that are not padding."""
    found: list[slice] = []
    for axis in range(inside.ndim):
        others = tuple(other for other in range(inside.ndim) if other != axis)
        places = np.flatnonzero(inside.any(axis=others))
        found.append(slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0))
    return tuple(found)


def _texture(channel: NDArray[np.float32]) -> list[float]:
    sample = thinned(channel, VOXELS).astype(np.float64)
    values = sample.ravel()
    mean, std = float(values.mean()), float(values.std())
    scale = std + TINY
    standard = (values - mean) / scale
    low, high = float(values.min()), float(values.max())
    found = [*np.percentile(values, PERCENTILES).tolist(), std, float((standard**3).mean())]
    found += [float(np.log((standard**4).mean() + 0.1))]
    found += [float(np.sqrt((values <= low).mean())), float(np.sqrt((values >= high).mean()))]
    for axis in range(channel.ndim):
        lines = thinned(channel, VOXELS, keep=axis)
        found += [_roughness(lines, axis, step, scale) for step in (1, 2)]
        found.append(float(np.log(_rms(np.diff(lines, n=2, axis=axis)) / scale + 1e-3)))
    mass = np.maximum(sample - low, 0.0)
    for axis in range(channel.ndim):
        profile = mass.sum(axis=tuple(other for other in range(mass.ndim) if other != axis))
        profile = profile / max(float(profile.sum()), TINY)
        place = np.linspace(-0.5, 0.5, len(profile))
        centre = float((profile * place).sum())
        found += [centre, float((profile * (place - centre) ** 2).sum())]
    middle = sample[tuple(slice(n // 4, n - n // 4) for n in sample.shape)]
    found.append((float(middle.mean()) - mean) / scale)
    return found


def _roughness(lines: NDArray[np.float32], axis: int, step: int, scale: float) -> float:
    moved = [slice(None)] * lines.ndim
    kept = [slice(None)] * lines.ndim
    moved[axis], kept[axis] = slice(step, None), slice(None, -step)
    return float(np.log(_rms(lines[tuple(moved)] - lines[tuple(kept)]) / scale + 1e-3))


def _rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0


def _layout(image: NDArray[np.float32]) -> NDArray[np.float64]:
    ndim = image.ndim - 1
    cells = min(CELLS[ndim], *image.shape[1:])
    coarse = [_averaged(channel, cells * 4) for channel in image]
    grey = np.mean(coarse, axis=0)
    steps = [np.gradient(grey, axis=axis) if grey.shape[axis] > 1 else np.zeros_like(grey) for axis in range(ndim)]
    maps = [*coarse, np.sqrt(np.sum(np.square(steps), axis=0))]
    return np.stack([_standard(_averaged(one, cells, exact=True)) for one in maps])


def _averaged(image: NDArray[np.floating], cells: int, *, exact: bool = False) -> NDArray[np.float64]:
    """Mean over equal parts of each axis; voxels on a border count in part on either side. Never finer than it is."""
    out: NDArray[np.float64] = image.astype(np.float64, copy=False)
    for axis, count in enumerate(image.shape):
        parts = cells if exact else min(cells, count)
        if parts == count:
            continue
        edges = np.linspace(0, count, parts + 1)
        voxels = np.arange(count)
        overlap = np.minimum(edges[1:, None], voxels + 1) - np.maximum(edges[:-1, None], voxels)
        weights = np.clip(overlap, 0.0, None) * (parts / count)
        out = np.moveaxis(np.tensordot(weights, out, axes=(1, axis)), 0, axis)
    return out


def _standard(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    std = float(cells.std())
    centred: NDArray[np.float64] = (cells - cells.mean()) / std if std > TINY else np.zeros_like(cells)
    return centred
