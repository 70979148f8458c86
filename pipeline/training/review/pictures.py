"""Scans as small grey pictures in a grid: middle slices without any caption."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.evaluation.plots import DPI, save_figure

COLUMNS = 4
INCHES = 1.5
"""Side of one picture."""

TITLE_INCHES = 0.4

PERCENTILES = (0.5, 99.5)
"""Values that are drawn black and white."""

Picture = NDArray[np.float32]


def middle_slice(image: NDArray[np.floating]) -> Picture:
    """Middle slice of the first channel of an image (c, *space), as rows and columns.

    Axis 0 runs to the right. Axis 1 runs downwards in two dimensions, and upwards in three, where it runs from back to
    front: the face then looks up, and low indices of axis 0 are on the left of the picture.
    """
    plane = np.asarray(image[0], dtype=np.float32)
    if plane.ndim == 3:
        return plane[:, ::-1, plane.shape[2] // 2].T
    return plane.T


def save_grid(path: Path, pictures: Sequence[Picture], title: str) -> Path:
    """Write pictures row by row; nothing is written on them, so that nothing on them can name anybody."""
    rows = -(-len(pictures) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * INCHES, rows * INCHES + 0.4), dpi=DPI)
    cells = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    figure.subplots_adjust(
        left=0.01, right=0.99, bottom=0.01, top=1 - 0.4 / (rows * INCHES + 0.4), wspace=0.04, hspace=0.04
    )
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    for cell in cells:
        cell.axis("off")
    for cell, picture in zip(cells, pictures, strict=False):
        low, high = np.percentile(picture, PERCENTILES)
        cell.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
    return save_figure(figure, path)
