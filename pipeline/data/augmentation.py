"""Random changes of training images, each case's drawn from (seed, epoch, case) alone.

What happens to a case therefore depends neither on its neighbours in the batch, nor on worker processes, nor on what
was drawn before: a resumed run sees the very images of an uninterrupted one. Parameters are drawn in numpy; pixels are
changed on the whole batch in torch, on whatever device it lies.
"""

import functools
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.settings import AugmentationSettings


class Draw(NamedTuple):
    """What happens to one case, axes in the order of the image."""

    flips: tuple[bool, ...]
    shift: tuple[int, ...]
    angles: tuple[float, ...]
    scale: float
    gain: float
    offset: float
    noise: float
    noise_seed: int


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
        noise_seed=int(rng.integers(2**62)),
    )


def augment(
    images: Tensor, draws: Sequence[Draw], settings: AugmentationSettings, spacing: Sequence[float] | None = None
) -> Tensor:
    """Apply one draw to each image.

    Parameters
    ----------
    images : Tensor of float32, shape (n, c, *space)
        Not changed.
    draws : sequence of Draw
        One an image.
    settings : AugmentationSettings
    spacing : sequence of float, optional
        Voxel spacing, so that rotations are rotations in millimetres; equal spacing where it is not given.

    Returns
    -------
    Tensor of float32, shape (n, c, *space)
        Voxels that come from outside the image repeat its edge.
    """
    if settings.interpolates:
        out = _resample(images, draws, spacing or (1.0,) * (images.ndim - 2))
    else:
        out = torch.empty_like(images)
        for image, one, row in zip(images, draws, out, strict=True):
            _move(image, one, row)
    column = (-1,) + (1,) * (images.ndim - 1)
    if settings.intensity_scale or settings.intensity_shift:
        out *= images.new_tensor([one.gain for one in draws]).view(column)
        out += images.new_tensor([one.offset for one in draws]).view(column)
    if settings.noise:
        out += torch.stack([_noise(image, one) for image, one in zip(images, draws, strict=True)])
    return out


def _move(image: Tensor, one: Draw, out: Tensor) -> None:
    """Flip, then shift by whole voxels: voxel o of `out` holds voxel o - shift of the flipped image, edges repeated."""
    flipped = [axis for axis, flip in enumerate(one.flips, start=1) if flip]
    image = image.flip(flipped) if flipped else image
    source, target = [slice(None)], [slice(None)]
    for length, shift in zip(image.shape[1:], one.shift, strict=True):
        kept = max(length - abs(shift), 1)
        first = min(max(shift, 0), length - kept)
        target.append(slice(first, first + kept))
        first = min(max(-shift, 0), length - kept)
        source.append(slice(first, first + kept))
    out[tuple(target)] = image[tuple(source)]
    for axis, part in enumerate(target[1:], start=1):
        if part.start > 0:
            out.narrow(axis, 0, part.start).copy_(out.narrow(axis, part.start, 1))
        if part.stop < (length := image.shape[axis]):
            out.narrow(axis, part.stop, length - part.stop).copy_(out.narrow(axis, part.stop - 1, 1))


def _resample(images: Tensor, draws: Sequence[Draw], spacing: Sequence[float]) -> Tensor:
    """Flip, scale and rotate about the image's centre, then shift, in one linear interpolation.

    The grid is built by element-wise arithmetic rather than `affine_grid`, whose matrix product may round differently
    for another batch size.
    """
    ndim = images.ndim - 2
    matrices = images.new_tensor(np.stack([_inverse(one, spacing) for one in draws]))
    shifts = images.new_tensor([one.shift for one in draws])
    view = (len(draws),) + (1,) * ndim
    placed: list[Tensor] = []
    for axis, length in enumerate(images.shape[2:]):
        index = torch.arange(length, device=images.device, dtype=images.dtype) - (length - 1) / 2
        shape = [1] * (ndim + 1)
        shape[axis + 1] = length
        placed.append(index.view(shape) - shifts[:, axis].view(view))
    grid = images.new_empty((len(draws), *images.shape[2:], ndim))
    for axis, length in enumerate(images.shape[2:]):
        terms = [matrices[:, axis, other].view(view) * placed[other] * (2.0 / length) for other in range(ndim)]
        # grid_sample names the last axis first
        torch.add(functools.reduce(torch.add, terms[:-1]), terms[-1], out=grid[..., ndim - 1 - axis])
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _inverse(one: Draw, spacing: Sequence[float]) -> NDArray[np.float64]:
    """Matrix from output to input voxel offsets (from the centre): rotation in millimetres, scale, flips."""
    rotation = _rotation(one.angles)
    mm = np.asarray(spacing, dtype=np.float64)
    signs = np.where(one.flips, -1.0, 1.0)
    return np.asarray(signs[:, None] * (rotation.T / one.scale) * mm[None, :] / mm[:, None])


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


def _noise(image: Tensor, one: Draw) -> Tensor:
    generator = torch.Generator().manual_seed(one.noise_seed)
    noise = torch.randn(image.shape, generator=generator, dtype=image.dtype) * one.noise
    return noise.to(image.device)
