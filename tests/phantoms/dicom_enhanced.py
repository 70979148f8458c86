"""Enhanced multi-frame objects with known voxels at known millimetres."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phantoms.dicom_series import (
    AXIAL,
    Identity,
    Orientation,
    Vector,
    decimals,
    make_item,
    make_items,
    make_object,
    save,
    set_pixels,
    slice_position,
)
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, EnhancedCTImageStorage, EnhancedMRImageStorage, ExplicitVRLittleEndian


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of an enhanced multi-frame image; `pixels` is (i, j)."""

    pixels: NDArray[Any]
    position: list[float]
    in_stack: int
    stack: str = "1"
    orientation: Orientation = AXIAL
    temporal: int | None = None
    echo_time: float | None = None
    slope: float | None = 1.0
    intercept: float | None = 0.0


def make_frames(
    stored: NDArray[Any],
    *,
    orientation: Orientation = AXIAL,
    position: Vector = (0.0, 0.0, 0.0),
    spacing: Vector = (1.0, 1.0, 1.0),
    **same: Any,
) -> list[Frame]:
    """Frames of one stack (i, j, k), in the order of k; `same` goes into each :class:`Frame`."""
    return [
        Frame(
            stored[:, :, k], slice_position(orientation, position, spacing, k), k + 1, orientation=orientation, **same
        )
        for k in range(stored.shape[2])
    ]


def write_enhanced(
    path: Path,
    frames: Sequence[Frame],
    *,
    spacing: Vector = (1.0, 1.0, 1.0),
    modality: str = "MR",
    bits_stored: int | None = None,
    transfer_syntax: UID = ExplicitVRLittleEndian,
    identity: Identity | None = None,
    edit: Callable[[Dataset], None] | None = None,
) -> Path:
    """Write an Enhanced CT or MR object whose frames come in the order given.

    What is the same in all frames (orientation, rescale) stands in the shared functional groups, else in each frame's.
    """
    identity = identity or Identity()
    storage = {"CT": EnhancedCTImageStorage, "MR": EnhancedMRImageStorage}[modality]
    dataset = make_object(identity, storage, modality, "enhanced")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.FrameOfReferenceUID = identity.frame_uid
    dataset.InstanceNumber = 1
    dataset.NumberOfFrames = len(frames)
    dataset.Columns, dataset.Rows = frames[0].pixels.shape
    set_pixels(dataset, np.stack([frame.pixels.T for frame in frames]), bits_stored, "MONOCHROME2")
    one_orientation = len({frame.orientation for frame in frames}) == 1
    one_rescale = len({(frame.slope, frame.intercept) for frame in frames}) == 1
    shared = make_item(
        PixelMeasuresSequence=make_items(
            PixelSpacing=decimals([spacing[1], spacing[0]]),
            SliceThickness=decimals([spacing[2]])[0],
            SpacingBetweenSlices=decimals([spacing[2]])[0],
        )
    )
    if one_orientation:
        _put_orientation(shared, frames[0])
    if one_rescale:
        _put_rescale(shared, frames[0])
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    groups = []
    for frame in frames:
        group = _frame_group(frame)
        if not one_orientation:
            _put_orientation(group, frame)
        if not one_rescale:
            _put_rescale(group, frame)
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Items(groups)
    if edit:
        edit(dataset)
    return save(dataset, path, transfer_syntax)


def _frame_group(frame: Frame) -> Dataset:
    content = make_item(StackID=frame.stack, InStackPositionNumber=frame.in_stack)
    if frame.temporal is not None:
        content.TemporalPositionIndex = frame.temporal
        content.TemporalPositionTimeOffset = float(frame.temporal)
    group = make_item(
        FrameContentSequence=Items([content]),
        PlanePositionSequence=make_items(ImagePositionPatient=decimals(frame.position)),
    )
    if frame.echo_time is not None:
        group.MREchoSequence = make_items(EffectiveEchoTime=frame.echo_time)
    return group


def _put_orientation(group: Dataset, frame: Frame) -> None:
    group.PlaneOrientationSequence = make_items(
        ImageOrientationPatient=decimals([*frame.orientation[0], *frame.orientation[1]])
    )


def _put_rescale(group: Dataset, frame: Frame) -> None:
    if frame.slope is not None and frame.intercept is not None:
        group.PixelValueTransformationSequence = make_items(
            RescaleSlope=decimals([frame.slope])[0],
            RescaleIntercept=decimals([frame.intercept])[0],
            RescaleType="US",
        )
