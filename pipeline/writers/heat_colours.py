"""Heat as colour over a grey picture."""

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray

COLOURS = np.rint(colormaps["inferno"](np.arange(256))[:, :3] * 255).astype(np.uint8)
"""Perceptually ordered (its lightness rises evenly), told apart by the colour-blind, and nowhere grey."""

OPACITY = 0.7
"""Of the hottest pixel; what lies below it can still be seen."""


def coloured(heat: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Heat in [0, 1], shape (rows, columns), to RGBA, shape (rows, columns, 4); nothing at all where it is 0."""
    clipped = np.clip(heat, 0.0, 1.0)
    alpha = np.rint(255 * OPACITY * clipped).astype(np.uint8)
    colours = COLOURS[np.rint(255 * clipped).astype(np.uint8)]
    return np.dstack([np.where(alpha[..., np.newaxis] > 0, colours, 0), alpha])


def laid_over(picture: NDArray[np.uint8], overlay: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB picture (rows, columns, 3) with an RGBA overlay of its size on top."""
    alpha = overlay[..., 3:].astype(np.float32) / 255
    mixed = picture * (1 - alpha) + overlay[..., :3] * alpha
    return np.rint(mixed).astype(np.uint8)
