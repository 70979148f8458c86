"""Pictures of a prepared case: film strips to review in a browser, and a contact sheet for a viewer of images."""

import io
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.writers.frames import MOST, SIDE, Frames, heat_planes, pictures
from pipeline.writers.heat_colours import coloured, laid_over
from pipeline.writers.strips import Strips

SHEET_SIDE = 256
"""Pixels of the longer side of a frame of a contact sheet."""


def make_strips(
    image: NDArray[np.float32],
    spacing: Sequence[float] | None,
    ndim: int,
    heatmaps: Mapping[str, NDArray[np.float32]],
    *,
    frames: int = MOST,
    side: int = SIDE,
) -> Strips:
    """Draw slices of a case and the heatmaps of its findings over them.

    All overlays share the frames of the slices, among which is the hottest slice of every heatmap as far as there are
    frames. See :mod:`pipeline.writers.frames` for what is shown and which way up. Equal input gives equal bytes.

    Parameters
    ----------
    image : ndarray of float32, shape (c, *size)
        Prepared: 3D in RAS+ order, 2D in stored order.
    spacing : sequence of float or None
        Between the voxels of the image along each axis, from :func:`pipeline.preprocessing.scan_grid.prepared_spacing`;
        None: the same along all.
    ndim : int
        2 or 3.
    heatmaps : mapping of str to ndarray of float32, shape (*size)
        Finding to heat in [0, 1].
    frames : int
        Most slices of a volume.
    side : int
        Pixels of the longer side of a frame.
    """
    chosen = _frames(image, spacing, ndim, heatmaps.values(), frames, side)
    overlays = {finding: _overlays(heat, chosen) for finding, heat in heatmaps.items()}
    return Strips(
        frames=len(chosen.slices),
        width=chosen.width,
        height=chosen.height,
        slices=_png(np.concatenate(pictures(image, chosen), axis=1)),
        overlays={finding: _png(np.concatenate(planes, axis=1)) for finding, planes in overlays.items()},
    )


def contact_sheet(
    image: NDArray[np.float32],
    spacing: Sequence[float] | None,
    ndim: int,
    heatmap: NDArray[np.float32] | None,
    *,
    frames: int = MOST,
    side: int = SHEET_SIDE,
) -> NDArray[np.uint8]:
    """Draw the frames row by row in a grid that is as square as they allow, the heat fused with them.

    Parameters
    ----------
    image, spacing, ndim, frames, side
        As of :func:`make_strips`.
    heatmap : ndarray of float32, shape (*size), or None
        Of one finding; None: slices alone.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
        RGB; a cell without a frame is black.
    """
    given = [] if heatmap is None else [heatmap]
    chosen = _frames(image, spacing, ndim, given, frames, side)
    cells = [np.broadcast_to(_rgb(picture), (chosen.height, chosen.width, 3)) for picture in pictures(image, chosen)]
    if heatmap is not None:
        cells = [laid_over(cell, over) for cell, over in zip(cells, _overlays(heatmap, chosen), strict=True)]
    columns = math.ceil(math.sqrt(len(cells)))
    rows = math.ceil(len(cells) / columns)
    cells += [np.zeros_like(cells[0])] * (rows * columns - len(cells))
    return np.concatenate(
        [np.concatenate(cells[row * columns : (row + 1) * columns], axis=1) for row in range(rows)], axis=0
    )


def _frames(
    image: NDArray[np.float32],
    spacing: Sequence[float] | None,
    ndim: int,
    heatmaps: Iterable[NDArray[np.float32]],
    frames: int,
    side: int,
) -> Frames:
    assert image.ndim == ndim + 1, f"{ndim}D image expected, got shape {image.shape}"
    given = list(heatmaps)
    assert all(heat.shape == image.shape[1:] for heat in given), "a heatmap is not on the grid of the image"
    return Frames.of(image.shape[1:], spacing, given, most=frames, side=side)


def _overlays(heatmap: NDArray[np.float32], chosen: Frames) -> list[NDArray[np.uint8]]:
    return [coloured(plane) for plane in heat_planes(heatmap, chosen)]


def _rgb(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return picture if picture.ndim == 3 else picture[..., np.newaxis]


def _png(pixels: NDArray[np.uint8]) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(content, "PNG")
    return content.getvalue()
