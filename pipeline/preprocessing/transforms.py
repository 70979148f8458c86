"""From a Volume to the network's input: the one function that training and inference share.

Grid convention. The centre of the prepared grid lies on the centre of the scan's field of view. Along an axis with
source spacing s, n source voxels, target spacing t and m target voxels, target index o samples source index
``(o - (m - 1) / 2) * t / s + (n - 1) / 2``: physical centres are aligned, not corners. An axis whose spacing is kept is
copied: its offset is rounded down to a whole voxel, so that unresampled voxels stay bit for bit. Target voxels whose
centre lies outside the field of view hold the intensity floor.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Unit
from pipeline.domain.plan import Plan, Window, ZScore
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput

PREPARATION_VERSION = 1
"""Part of the cache key: raise it whenever :func:`prepare` would return other voxels for the same input."""

SAME_SPACING = 1e-3
"""Spacings that differ by no more than this fraction are the same; nothing is resampled."""

FEWEST_SLICES = 3
"""A volume needs this many slices; fewer carry no third dimension."""

KERNEL_REACH = 4.0
"""The Gaussian of the anti-aliasing filter is cut at this many standard deviations."""


class _Axis(NamedTuple):
    """How one axis is sampled: target index o reads source index ``o * step + offset``; step 1 copies."""

    source: int
    target: int
    step: float
    offset: float

    @property
    def sigma(self) -> float:
        """Anti-aliasing blur in source voxels: half of what the target voxel is wider than the source voxel."""
        return max(0.0, (self.step - 1.0) / 2.0)


def prepare(volume: Volume, plan: Plan) -> NDArray[np.float32]:
    """Turn a scan into the network's input, by the plan alone.

    Volumes are reordered to RAS+ (:meth:`Volume.canonical`), single images keep stored order. Intensities are mapped
    by ``plan.intensity`` on the scan's own grid; padding (``valid`` False) enters no statistic and becomes the floor.
    Channels that are series of their own have statistics of their own; an empty one is 0.
    Then trilinear resampling to ``plan.spacing`` (with a Gaussian anti-aliasing filter where it coarsens) and a centre
    crop or pad to ``plan.size``. With ``plan.fit`` the whole field of view is scaled into ``plan.size``, its
    proportions kept, the rest padded with the floor.

    Parameters
    ----------
    volume : Volume
        Stored order, as a reader returns it.
    plan : Plan

    Returns
    -------
    ndarray of float32, shape (c, *plan.size)
        C-contiguous. 3D: axes (i, j, k) in RAS+ order; 2D: axes (i, j) in stored order.

    Raises
    ------
    RejectedInput
        DOES_NOT_FIT (modality, dimension, channels), TOO_FEW_SLICES, NO_SPACING, CONSTANT, NOT_FINITE.
    """
    _check_fits(volume, plan)
    volume = volume.canonical() if plan.ndim == 3 else volume
    normal, floors = _normalise_each(volume, plan.intensity)
    shape, own = volume.geometry.shape[: plan.ndim], volume.geometry.spacing[: plan.ndim]
    axes = [
        _axis(n, m, s, t) for n, m, s, t in zip(shape, plan.size, own, _target_spacing(shape, own, plan), strict=True)
    ]
    image = normal if plan.ndim == 3 else normal[..., 0]
    out = np.stack([_sample(channel, axes, floor) for channel, floor in zip(image, floors, strict=True)])
    if not np.isfinite(out).all():
        raise _refuse(Code.NOT_FINITE, "prepared voxels are not all finite numbers")
    return out


def _check_fits(volume: Volume, plan: Plan) -> None:
    if volume.modality != plan.modality:
        given = volume.modality or "no modality"
        raise _refuse(Code.DOES_NOT_FIT, f"the plan is for {plan.modality}, the scan is {given}")
    if volume.modality == "PT" and volume.is_suv != plan.suv:
        asked = "SUV: give `read.suv=true`" if plan.suv else "the unit of the scanner: leave `read.suv` out"
        raise _refuse(Code.DOES_NOT_FIT, f"the plan is for PET in {asked}")
    if volume.channels != plan.channels:
        raise _refuse(Code.DOES_NOT_FIT, f"the plan is for {plan.channels} channel(s), the scan has {volume.channels}")
    slices = volume.geometry.shape[2]
    if plan.ndim == 2 and slices > 1:
        raise _refuse(Code.DOES_NOT_FIT, f"the plan is for single images, the scan has {slices} slices")
    if plan.ndim == 3 and slices < FEWEST_SLICES:
        raise _refuse(Code.TOO_FEW_SLICES, f"a volume needs {FEWEST_SLICES} slices, the scan has {slices}")
    if volume.geometry.unit is Unit.PIXEL and (plan.ndim == 3 or plan.spacing is not None):
        raise _refuse(Code.NO_SPACING, "the plan needs millimetres and the scan has no pixel spacing")


def _refuse(code: Code, message: str) -> RejectedInput:
    return RejectedInput(code, message, stage="prepare")


def _normalise_each(volume: Volume, intensity: Window | ZScore) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """Map intensities; return voxels (c, i, j, k) and the floor of each channel.

    Channels that are series of their own are mapped each by itself; one that no series fills stays at 0 throughout.
    """
    if not volume.is_stacked:
        normal, floor = _normalise(volume, intensity)
        return normal, (floor,) * volume.channels
    assert volume.valid is not None
    mapped: list[tuple[NDArray[np.float32], float]] = []
    for channel, valid in zip(volume.voxels, volume.valid, strict=True):
        if valid.any():
            mapped.append(_normalise(replace(volume, voxels=channel[np.newaxis], valid=valid), intensity))
        else:
            mapped.append((np.zeros((1, *channel.shape), dtype=np.float32), 0.0))
    return np.concatenate([normal for normal, _ in mapped]), tuple(floor for _, floor in mapped)


def _normalise(volume: Volume, intensity: Window | ZScore) -> tuple[NDArray[np.float32], float]:
    """Map intensities; return voxels (c, i, j, k) and the floor, the lowest value that the mapping gives this scan."""
    valid = volume.valid
    if valid is not None and not valid.any():
        raise _refuse(Code.CONSTANT, "every pixel is marked as padding")
    match intensity:
        case Window(low=low, high=high):
            scale, centre = 2.0 / (high - low), (high + low) / 2.0
        case ZScore():
            low, high, centre, scale = _own_statistics(volume, intensity)
    clipped = np.clip(volume.voxels, np.float32(low), np.float32(high))
    if valid is not None:
        clipped[:, ~valid] = np.float32(low)
    clipped -= np.float32(centre)
    clipped *= np.float32(scale)
    floor = (np.float32(low) - np.float32(centre)) * np.float32(scale)
    return clipped, float(floor)


def _own_statistics(volume: Volume, intensity: ZScore) -> tuple[float, float, float, float]:
    """Percentiles, mean and 1 / standard deviation of the scan's valid voxels, pooled over channels."""
    values = volume.valid_voxels()
    low, high = (float(p) for p in np.percentile(values, [intensity.lower_percentile, intensity.upper_percentile]))
    inside = np.clip(values, np.float32(low), np.float32(high))
    mean, std = float(inside.mean(dtype=np.float64)), float(inside.std(dtype=np.float64))
    if not std > 1e-6 * max(abs(low), abs(high), 1e-30):
        raise _refuse(Code.CONSTANT, f"all pixels lie at {mean:.6g}, no contrast to normalise by")
    return low, high, mean, 1.0 / std


def _target_spacing(shape: tuple[int, ...], own: tuple[float, ...], plan: Plan) -> tuple[float, ...]:
    if plan.fit:
        widest = max(n * s / m for n, s, m in zip(shape, own, plan.size, strict=True))
        return (widest,) * plan.ndim
    return own if plan.spacing is None else plan.spacing


def _axis(source: int, target: int, own: float, wanted: float) -> _Axis:
    step = wanted / own
    if abs(step - 1.0) <= SAME_SPACING:
        return _Axis(source, target, 1.0, float(math.floor((source - target) / 2)))
    return _Axis(source, target, step, (source - 1) / 2 - (target - 1) / 2 * step)


def _sample(image: NDArray[np.float32], axes: list[_Axis], floor: float) -> NDArray[np.float32]:
    """Sample one channel on the target grid; see the module's grid convention."""
    inside = [_inside(axis) for axis in axes]
    if any(part.stop <= part.start for part in inside):
        raise _refuse(Code.DOES_NOT_FIT, "the field of view is smaller than one voxel of the plan")
    out = np.full([axis.target for axis in axes], floor, dtype=np.float32)
    moved = [_restrict(axis, part) for axis, part in zip(axes, inside, strict=True)]
    out[tuple(inside)] = _interpolate(image, moved)
    return out


def _inside(axis: _Axis) -> slice:
    """Target indices whose centre lies in the field of view, source [-0.5, n - 0.5]."""
    first = math.ceil((-0.5 - axis.offset) / axis.step - 1e-6)
    last = math.floor((axis.source - 0.5 - axis.offset) / axis.step + 1e-6)
    if axis.step == 1.0:
        first, last = math.ceil(-axis.offset), math.floor(axis.source - 1 - axis.offset)
    return slice(max(first, 0), min(last, axis.target - 1) + 1)


def _restrict(axis: _Axis, part: slice) -> _Axis:
    """Restrict an axis to a part of its target indices."""
    return axis._replace(target=part.stop - part.start, offset=axis.offset + part.start * axis.step)


def _interpolate(image: NDArray[np.float32], axes: list[_Axis]) -> NDArray[np.float32]:
    """Blur where the grid coarsens, then interpolate linearly; only the part of the source that is reached is read."""
    cut, moved = [], []
    for axis in axes:
        margin = math.ceil(KERNEL_REACH * axis.sigma) + 2 if axis.step != 1.0 else 0
        low = max(0, math.floor(axis.offset) - margin)
        high = min(axis.source, math.ceil(axis.offset + (axis.target - 1) * axis.step) + margin + 1)
        cut.append(slice(low, high))
        moved.append(axis._replace(source=high - low, offset=axis.offset - low))
    part = image[tuple(cut)]
    if all(axis.step == 1.0 for axis in moved):
        return part
    for number, axis in enumerate(moved):
        if axis.sigma > 0:
            part = ndimage.gaussian_filter1d(part, axis.sigma, axis=number, mode="nearest", truncate=KERNEL_REACH)
    sampled: NDArray[np.float32] = ndimage.affine_transform(
        part,
        np.array([axis.step for axis in moved]),
        offset=[axis.offset for axis in moved],
        output_shape=tuple(axis.target for axis in moved),
        output=np.float32,
        order=1,
        mode="nearest",
    )
    return sampled
