"""From a Volume to the network's input: the one function that training and inference share."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Unit
from pipeline.domain.plan import Plan, Window, ZScore
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.preprocessing.grid import axes_onto_plan, overlaps, sample

PREPARATION_VERSION = 2
"""Part of the cache key: raise it whenever :func:`prepare` would return other voxels for the same input."""

FEWEST_SLICES = 3
"""A volume needs this many slices; fewer carry no third dimension."""


def prepare(volume: Volume, plan: Plan) -> NDArray[np.float32]:
    """Turn a scan into the network's input, by the plan alone.

    Volumes are reordered to RAS+ (:meth:`Volume.canonical`), single images keep stored order. Intensities are mapped
    by ``plan.intensity`` on the scan's own grid; padding (``valid`` False) enters no statistic and becomes the floor.
    Channels that are series of their own have statistics of their own; an empty one is 0.
    Then trilinear resampling to ``plan.spacing`` (with a Gaussian anti-aliasing filter where it coarsens) and a centre
    crop or pad to ``plan.size``, as :mod:`pipeline.preprocessing.grid` says; what lies outside the field of view holds
    the intensity floor. With ``plan.fit`` the whole field of view is scaled into ``plan.size``, its proportions kept,
    the rest padded with the floor. Last, voxels are rounded to ``plan.voxels``.

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
    axes = axes_onto_plan(volume.geometry.shape[: plan.ndim], volume.geometry.spacing[: plan.ndim], plan)
    if not overlaps(axes):
        raise _refuse(Code.DOES_NOT_FIT, "the field of view is smaller than one voxel of the plan")
    image = normal if plan.ndim == 3 else normal[..., 0]
    out = np.stack([sample(channel, axes, floor) for channel, floor in zip(image, floors, strict=True)])
    if not np.isfinite(out).all():
        raise _refuse(Code.NOT_FINITE, "prepared voxels are not all finite numbers")
    return out if plan.voxels == "float32" else out.astype(plan.voxels).astype(np.float32)


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
