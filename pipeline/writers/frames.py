"""Which slices of a prepared image are shown, and how: as a radiologist sees them, in the patient's proportions.

The patient's right is on the left of the picture and anterior on top (axial); superior is on top of coronal and
sagittal ones, and anterior on the left of sagittal ones. A single image stays as it is stored: i along the columns, j
down the rows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MOST = 9
"""Frames of a volume."""

SIDE = 128
"""Pixels of the longer side of a frame."""

TAILS = (0.5, 99.5)
"""Percentiles of the whole image that become black and white."""

CLEARLY_COARSER = 1.5
"""Slices lie across the axis k, axial, unless the voxels of another are this many times as long."""

COLOUR = 3
"""Channels of a coloured picture; those of volumes are series of their own."""


@dataclass(frozen=True, slots=True)
class Frames:
    """How planes are cut out of an image.

    Attributes
    ----------
    axis : int or None
        Spatial axis that the slices are cut across; None for a single image.
    slices : tuple of int
        Indices along it, rising: from the feet to the head, from the back to the front, from left to right.
    width, height : int
        Of a frame, in pixels that are squares in the patient.
    """

    axis: int | None
    slices: tuple[int, ...]
    width: int
    height: int

    @classmethod
    def of(
        cls,
        size: Sequence[int],
        spacing: Sequence[float] | None,
        heatmaps: Iterable[NDArray[np.floating]] = (),
        *,
        most: int = MOST,
        side: int = SIDE,
    ) -> Self:
        """Choose slices evenly: axial ones, or across another axis whose voxels are clearly coarser.

        Each heatmap has its hottest slice among them, as far as there are frames.

        Parameters
        ----------
        size : sequence of int
            Of the image, 2 or 3 axes.
        spacing : sequence of float or None
            Of its voxels along each axis, in mm; None: equal along all.
        heatmaps : iterable of ndarray, shape (*size)
        """
        lengths = tuple(spacing) if spacing is not None else (1.0,) * len(size)
        axis: int | None = None
        slices: tuple[int, ...] = (0,)
        if len(size) > 2:
            coarsest = max(range(len(size)), key=lambda one: (round(lengths[one], 3), one))
            axis = coarsest if lengths[coarsest] >= CLEARLY_COARSER * lengths[-1] else len(size) - 1
            hottest = [found for heat in heatmaps if (found := _hottest(heat, axis)) is not None]
            slices = _with(_evenly(size[axis], most), hottest)
        across, down = (one for one in range(len(size)) if one != axis)
        width, height = size[across] * lengths[across], size[down] * lengths[down]
        scale = side / max(width, height)
        return cls(axis, slices, max(1, round(width * scale)), max(1, round(height * scale)))

    def planes(self, image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Cut an image (*size) into its frames, each of shape (rows, columns) of its own voxels."""
        if self.axis is None:
            return [image.T]
        turned = np.flip(image, (0, 1, 2))  # to left, posterior and inferior
        last = image.shape[self.axis] - 1
        planes = (np.take(turned, last - number, axis=self.axis) for number in self.slices)
        return [plane.T for plane in planes]

    def resized(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale a plane (rows, columns) to (height, width), averaging where it shrinks."""
        picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
        scaled = picture.resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(scaled, dtype=np.float32)


def pictures(image: NDArray[np.float32], frames: Frames) -> list[NDArray[np.uint8]]:
    """Frames of a prepared image, grey (height, width) or, of a coloured picture, RGB (height, width, 3).

    The values between the :data:`TAILS` of the whole image become black to white, channels together. Of an image with
    several series the first that is not empty is shown.
    """
    shown = image if frames.axis is None and len(image) == COLOUR else image[_first_filled(image)][np.newaxis]
    low, high = _window(shown)
    channels = [[_grey(frames.resized(plane), low, high) for plane in frames.planes(one)] for one in shown]
    if len(channels) == 1:
        return channels[0]
    return [np.dstack(planes) for planes in zip(*channels, strict=True)]


def heat_planes(heatmap: NDArray[np.float32], frames: Frames) -> list[NDArray[np.float32]]:
    """Frames of a heatmap, each (height, width)."""
    return [frames.resized(plane) for plane in frames.planes(heatmap)]


def _hottest(heat: NDArray[np.floating], axis: int) -> int | None:
    """Slice with the hottest voxel, of equals that with most heat, of equals the middle one; None without heat."""
    others = tuple(one for one in range(heat.ndim) if one != axis)
    peaks, sums = heat.max(axis=others), heat.sum(axis=others, dtype=np.float64)
    if not peaks.max() > 0:
        return None
    most = max(zip(peaks, sums, strict=True))
    equals = [k for k, found in enumerate(zip(peaks, sums, strict=True)) if found == most]
    return equals[len(equals) // 2]


def _evenly(slices: int, most: int) -> list[int]:
    """Middle slices of as many equal parts."""
    count = min(slices, most)
    return [int((part + 0.5) * slices / count) for part in range(count)]


def _with(chosen: list[int], wanted: Iterable[int]) -> tuple[int, ...]:
    """Move the nearest of the chosen slices to each wanted one; what was wanted before stays."""
    free = list(chosen)
    kept: list[int] = []
    for slice_ in wanted:
        if slice_ in kept or not free:
            continue
        nearest = min(free, key=lambda one: abs(one - slice_))
        free.remove(nearest)
        kept.append(slice_)
    return tuple(sorted({*kept, *free}))


def _first_filled(image: NDArray[np.float32]) -> int:
    filled = [number for number, channel in enumerate(image) if channel.min() < channel.max()]
    return filled[0] if filled else 0


def _window(image: NDArray[np.float32]) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(image, TAILS))
    return (low, high) if low < high else (float(image.min()), float(image.max()))


def _grey(plane: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    scaled = (plane - low) / (high - low) if high > low else np.zeros_like(plane)
    return np.rint(255 * np.clip(scaled, 0.0, 1.0)).astype(np.uint8)
