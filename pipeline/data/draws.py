"""What happens to a training image, drawn from (seed, epoch, case) alone.

It therefore depends neither on its neighbours in the batch, nor on worker processes, nor on what was drawn before: a
resumed run sees the very images of an uninterrupted one. Needs numpy only; pixels are changed by
:mod:`pipeline.data.augmentation`.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.data.settings import AugmentationSettings

OCCASIONAL = ("elastic", "low_resolution", "blur", "bias_field", "gamma", "cutout")
"""Changes that only some images undergo, in the order in which they come: from tissue to scanner to picture."""


class Draw(NamedTuple):
    """What happens to one case, axes in the order of the image.

    Attributes
    ----------
    seed : int
        Of the noise and of the occasional changes.
    occasions : tuple of str
        Those of :data:`OCCASIONAL` that the image undergoes.
    """

    flips: tuple[bool, ...]
    shift: tuple[int, ...]
    angles: tuple[float, ...]
    scale: float
    gain: float
    offset: float
    noise: float
    seed: int
    occasions: tuple[str, ...] = ()


def draw(settings: AugmentationSettings, ndim: int, *, seed: int, epoch: int, case: str, repeat: int = 0) -> Draw:
    """Draw the changes of one case.

    Parameters
    ----------
    settings : AugmentationSettings
    ndim : int
        Number of spatial axes.
    seed, epoch : int
    case : str
        Pseudonym.
    repeat : int
        Which occurrence in this epoch, where sampling is with replacement.
    """
    name = hashlib.sha256(f"{seed}/{epoch}/{case}/{repeat}".encode()).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(name[:16], "little")))
    chance, reach = rng.random(ndim), rng.integers(-settings.shift, settings.shift + 1, ndim)
    turns = np.deg2rad(settings.rotation) * rng.uniform(-1, 1, 3 if ndim == 3 else 1)
    scale, gain, offset = rng.uniform(-1, 1, 3) * (settings.scale, settings.intensity_scale, settings.intensity_shift)
    return Draw(
        flips=tuple(axis in settings.flip_axes and chance[axis] < settings.flip_probability for axis in range(ndim)),
        shift=tuple(reach.tolist()),
        angles=tuple(turns.tolist()),
        scale=1.0 + float(scale),
        gain=1.0 + float(gain),
        offset=float(offset),
        noise=settings.noise * float(rng.random()),
        seed=int(rng.integers(2**62)),
        occasions=_occasions(settings, rng.random(len(OCCASIONAL)).tolist()),
    )


def _occasions(settings: AugmentationSettings, chances: Sequence[float]) -> tuple[str, ...]:
    """One chance each, also for those that are off: what is drawn for one does not hang on the others."""
    drawn = zip(OCCASIONAL, chances, strict=True)
    return tuple(name for name, chance in drawn if getattr(settings, name) and chance < settings.occasional_probability)


def inverse(one: Draw, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Matrix from output to input voxel offsets (from the centre): rotation in millimetres, scale, flips."""
    turned = _rotation(one.angles)
    mm = np.asarray(spacing, dtype=np.float64)
    signs = np.where(one.flips, -1.0, 1.0)
    return np.asarray(signs[:, None] * (turned.T / one.scale) * mm[None, :] / mm[:, None])


def _rotation(angles: Sequence[float]) -> NDArray[np.float64]:
    """Rotation about the axes 0, 1, 2 in turn (3D), or in the plane (2D)."""
    if len(angles) == 1:
        return _plane(2, 0, 1, angles[0])
    return _plane(3, 0, 1, angles[2]) @ _plane(3, 2, 0, angles[1]) @ _plane(3, 1, 2, angles[0])


def _plane(ndim: int, first: int, second: int, angle: float) -> NDArray[np.float64]:
    matrix = np.eye(ndim)
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[second, first], matrix[first, second] = sine, -sine
    return matrix
