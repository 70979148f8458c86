"""Random changes of training images: pixels follow what :mod:`pipeline.data.draws` drew for each case.

On a CPU each image is changed by itself, several at once in threads, so that a case comes out alike, bit for bit, in
any batch and with any number of threads. On a device a batch is rotated and scaled in one pass, the rest is done image
by image. Every image is placed anew and changed in contrast, brightness and noise; in between, some undergo what
:mod:`pipeline.data.occasional` holds.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.data.draws import Draw, inverse
from pipeline.data.resampling import kernel, resample
from pipeline.data.settings import AugmentationSettings

WORTH_A_THREAD = 2**18
"""Values to change for which it pays to start another thread."""

ALONE = 2**14
"""Values that torch changes without threads of its own: fewer than its GRAIN_SIZE, 2^15."""

Pixels = TypeVar("Pixels", Tensor, NDArray[np.float32])


def augment(
    images: Tensor | Sequence[Tensor],
    draws: Sequence[Draw],
    settings: AugmentationSettings,
    spacing: Sequence[float] | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Apply one draw to each image, on the processor.

    Parameters
    ----------
    images : Tensor of float32 or float16, shape (n, c, *space), or sequence of n
        Not changed.
    draws : sequence of Draw
        One an image.
    settings : AugmentationSettings
    spacing : sequence of float, optional
        Voxel spacing, so that rotations are rotations in millimetres; equal spacing where it is not given.
    out : Tensor of float32, shape (n, c, *space), optional
        Takes the result.

    Returns
    -------
    Tensor of float32, shape (n, c, *space)
        Voxels that come from outside the image repeat its edge.
    """
    sources = [image.contiguous() for image in images]
    spacing = spacing or (1.0,) * (sources[0].ndim - 1)
    if out is None:
        out = torch.empty((len(sources), *sources[0].shape))
    compiled = kernel() is not None if settings.interpolates else False
    if settings.interpolates and not compiled:
        out.copy_(sample_grid(torch.stack(sources).float(), draws, spacing))
    after, room = out.numpy(), threading.local()

    def original(number: int) -> NDArray[np.float32]:
        source = sources[number]
        if source.dtype != torch.float32:
            if not hasattr(room, "image"):
                room.image = torch.empty(source.shape)
            source = _widen(source, room.image)
        return source.numpy()

    def place(number: int) -> None:
        """Numpy alone: torch would start threads of its own from each of these."""
        one, changed = draws[number], after[number]
        if not settings.interpolates:
            _move(np.flip(original(number), _flipped(one)), one, changed)
        elif compiled:
            _resample(original(number), one, spacing, changed)

    def finish(number: int) -> None:
        """Numpy here too."""
        one, changed = draws[number], after[number]
        _change_intensities(changed, one, settings)
        if settings.noise:
            changed += _noise(changed.shape, one).numpy()

    if not settings.sometimes:
        _in_threads((place, finish), len(draws), out.numel())
        return out
    _in_threads((place,), len(draws), out.numel())
    _change_occasionally(out, draws, settings)
    _in_threads((finish,), len(draws), out.numel())
    return out


def get_ready(settings: AugmentationSettings) -> None:
    """Compile and load what the changes need, seconds that worker processes which are forked then inherit."""
    if settings.interpolates:
        kernel()
    if settings.sometimes:
        _occasional()


def augment_batch(
    images: Tensor, draws: Sequence[Draw], settings: AugmentationSettings, spacing: Sequence[float]
) -> Tensor:
    """Do what :func:`augment` does by torch alone, on the device of the images; equal within rounding."""
    out = sample_grid(images, draws, spacing) if settings.interpolates else torch.empty_like(images)
    for image, one, changed in zip(images, draws, out, strict=True):
        if not settings.interpolates:
            _move(image.flip(_flipped(one)), one, changed)
    _change_occasionally(out, draws, settings)
    for one, changed in zip(draws, out, strict=True):
        _change_intensities(changed, one, settings)
        if settings.noise:
            changed += _noise(changed.shape, one, changed.device)
    return out


def _widen(half: Tensor, out: Tensor) -> Tensor:
    """Write values of float16 to `out`, in pieces so small that torch starts no threads; numpy is far slower at it."""
    source, target = half.view(-1), out.view(-1)
    for start in range(0, len(source), ALONE):
        target[start : start + ALONE].copy_(source[start : start + ALONE])
    return out


def _in_threads(steps: Sequence[Callable[[int], None]], count: int, values: int) -> None:
    """Take the steps for each of `count` images of so many values together."""

    def take(first: int, end: int) -> None:
        for number in range(first, end):
            for step in steps:
                step(number)

    threads = min(torch.get_num_threads(), count, values // WORTH_A_THREAD)
    if threads < 2:
        take(0, count)
        return
    ends = [count * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(take, ends[:-1], ends[1:]))


def _change_occasionally(images: Tensor, draws: Sequence[Draw], settings: AugmentationSettings) -> None:
    """In place; one image after the other, for these are torch's, which has threads of its own."""
    if not any(one.occasions for one in draws):
        return
    change_occasionally = _occasional()
    for image, one in zip(images, draws, strict=True):
        if one.occasions:
            image.copy_(change_occasionally(image.clone(), one, settings))


def _occasional() -> Callable[[Tensor, Draw, AugmentationSettings], Tensor]:
    """Load MONAI, which takes seconds, only where a change is asked for."""
    from pipeline.data.occasional import change_occasionally

    return change_occasionally


def sample_grid(images: Tensor, draws: Sequence[Draw], spacing: Sequence[float]) -> Tensor:
    """Flip, scale and rotate about the image's centre, then shift: a batch in one linear interpolation by torch.

    The grid is built by element-wise arithmetic rather than `affine_grid`, whose matrix product may round differently
    for another batch size.
    """
    ndim = images.ndim - 2
    matrices = images.new_tensor(np.stack([inverse(one, spacing) for one in draws]))
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


def _resample(image: NDArray[np.float32], one: Draw, spacing: Sequence[float], out: NDArray[np.float32]) -> None:
    """Do for one image what :func:`sample_grid` does for a batch, by the compiled kernel."""
    matrix = inverse(one, spacing)
    centre = (np.asarray(image.shape[1:]) - 1) / 2
    resample(image, matrix, centre - matrix @ (centre + np.asarray(one.shift)), out)


def _flipped(one: Draw) -> tuple[int, ...]:
    """Axes of an image (c, *space) that are mirrored."""
    return tuple(axis for axis, flip in enumerate(one.flips, start=1) if flip)


def _move(image: Pixels, one: Draw, out: Pixels) -> None:
    """Shift by whole voxels: voxel o of `out` holds voxel o - shift of the image, edges repeated."""
    whole = slice(None)
    source, target = [whole], [whole]
    for length, shift in zip(image.shape[1:], one.shift, strict=True):
        kept = max(length - abs(shift), 1)
        first = min(max(shift, 0), length - kept)
        target.append(slice(first, first + kept))
        first = min(max(-shift, 0), length - kept)
        source.append(slice(first, first + kept))
    out[tuple(target)] = image[tuple(source)]
    for axis, part in enumerate(target[1:], start=1):
        before: tuple[slice, ...] = (whole,) * axis
        out[(*before, slice(0, part.start))] = out[(*before, slice(part.start, part.start + 1))]
        out[(*before, slice(part.stop, None))] = out[(*before, slice(part.stop - 1, part.stop))]


def _change_intensities(image: Pixels, one: Draw, settings: AugmentationSettings) -> None:
    """Contrast and brightness, in place."""
    if settings.intensity_scale or settings.intensity_shift:
        image *= one.gain
        image += one.offset


def _noise(shape: Sequence[int], one: Draw, device: torch.device | str = "cpu") -> Tensor:
    """Gaussian noise; each kind of device has its own random numbers."""
    generator = torch.Generator(device).manual_seed(one.seed)
    return torch.randn(tuple(shape), generator=generator, device=device).mul_(one.noise)
