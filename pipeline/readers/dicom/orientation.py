"""How slices lie to each other: which are parallel, which lie across, and which cannot be placed at all."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.bounds import LARGEST_POSITION_MM, LARGEST_SPACING_MM, SMALLEST_MM
from pipeline.readers.dicom.slices import MEANING, Slice

ORIENTATION_TOLERANCE = 1e-3
"""Largest difference of two direction cosines that still count as one orientation (about 0.06 degrees)."""

SAME_SPACING = 1e-5
"""Part by which PixelSpacing may differ within a volume: a hundredth of a voxel at the end of a thousand."""

LOCALIZER_DEGREES = 45.0
"""Few slices whose plane is turned by more against the others are a localizer; by less, the series is faulty."""

FEWEST_SLICES = 3
"""A group of parallel slices that is at least this large is a volume in its own right."""

Grid = tuple[int, int, tuple[float, ...]]
"""Columns, rows, and the spacings between rows and columns."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Slices that join no volume, and why; the first is the one to look at."""

    slices: tuple[Slice, ...]
    error: RejectedInput


def check_place(one: Slice) -> None:
    """Refuse a slice that cannot be placed in the patient.

    Raises
    ------
    RejectedInput
        NO_GEOMETRY, NO_SPACING, or BAD_VALUE for directions that are no unit vectors at a right angle, and for
        positions and thicknesses beyond all that can be meant.
    """
    if one.orientation is None or one.position is None:
        missing = "ImageOrientationPatient" if one.orientation is None else "ImagePositionPatient"
        raise RejectedInput(Code.NO_GEOMETRY, f"{missing} is missing")
    if one.spacing is None:
        raise RejectedInput(Code.NO_SPACING, "PixelSpacing is missing")
    if max(map(abs, one.position)) > LARGEST_POSITION_MM:
        raise RejectedInput(Code.BAD_VALUE, f"ImagePositionPatient is more than {LARGEST_POSITION_MM:g} mm away")
    if one.thickness is not None and not SMALLEST_MM <= one.thickness <= LARGEST_SPACING_MM:
        raise RejectedInput(Code.BAD_VALUE, f"SliceThickness is {one.thickness:g} mm")
    row, column = one.orientation[:3], one.orientation[3:]
    lengths = (math.hypot(*row), math.hypot(*column))
    if max(abs(length - 1) for length in lengths) > ORIENTATION_TOLERANCE:
        message = f"ImageOrientationPatient holds directions of length {lengths[0]:.4g} and {lengths[1]:.4g}, not 1"
        raise RejectedInput(Code.BAD_VALUE, message)
    if abs(sum(along * down for along, down in zip(row, column, strict=True))) > ORIENTATION_TOLERANCE:
        raise RejectedInput(Code.BAD_VALUE, "ImageOrientationPatient: rows and columns are not at a right angle")


def normal_of(one: Slice) -> NDArray[np.float64]:
    """Slice normal, LPS+, of unit length: row direction x column direction."""
    assert one.orientation is not None
    a, b, c, u, v, w = one.orientation
    normal = (b * w - c * v, c * u - a * w, a * v - b * u)  # numpy's cross product takes ten times as long
    return np.array(normal) / math.hypot(*normal)


def parallel_groups(slices: Sequence[Slice]) -> tuple[list[list[Slice]], list[Refused]]:
    """Group slices of one frame of reference and one orientation.

    Few slices that lie across a volume are its localizer and are set aside as a skip; few that are turned a little
    against it make the series MATRIX. Groups that are volumes in their own right, as the slabs of a spine, stay.
    """
    groups: list[list[Slice]] = []
    refused: list[Refused] = []
    if len({bool(one.frame_of_reference) for one in slices}) > 1:
        message = "FrameOfReferenceUID is missing on some slices of the series"
        return [], [Refused(tuple(slices), RejectedInput(Code.BAD_VALUE, message))]
    frames = _by_frame_of_reference(slices)
    if len(slices) >= FEWEST_SLICES and len(frames) == len(slices) and len(_by_orientation(slices)) == 1:
        message = "every slice has a FrameOfReferenceUID of its own: no two of them can be placed together"
        return [], [Refused(tuple(slices), RejectedInput(Code.BAD_VALUE, message))]
    for frame in frames:
        found = _by_orientation(frame)
        volumes = [group for group in found if len(group) >= FEWEST_SLICES]
        few = [group for group in found if len(group) < FEWEST_SLICES]
        if not volumes or not few:
            groups += found
            continue
        smallest = min(_degrees(group[0], volume[0]) for group in few for volume in volumes)
        if smallest > LOCALIZER_DEGREES:
            skip = RejectedInput(Code.LOCALIZER, "lies across the other slices of its series", stage="discover")
            groups += volumes
            refused += [Refused(tuple(group), skip) for group in few]
        else:
            message = f"slices of one series are turned against each other, their planes by {smallest:.2f} degrees"
            odd = [one for group in (*few, *volumes) for one in group]
            refused.append(Refused(tuple(odd), RejectedInput(Code.MATRIX, message)))
    return groups, refused


def check_alike(slices: Sequence[Slice]) -> None:
    """Refuse parallel slices of different grids or meanings, or of which only some say how their values are scaled.

    Raises
    ------
    RejectedInput
        MATRIX, MIXED or BAD_VALUE.
    """
    for name, values in zip(MEANING, zip(*(one.meaning for one in slices), strict=True), strict=False):
        if len(set(values) - {""}) > 1:
            raise RejectedInput(Code.MIXED, f"slices of one volume differ in {name}")
    scales = sorted({one.rescale for one in slices}, key=len)
    if len(scales) > 1:
        missing = ", ".join(sorted(set(scales[-1]) - set(scales[0])))
        raise RejectedInput(Code.BAD_VALUE, f"{missing} is missing on some slices of the series")
    grids = list(dict.fromkeys((one.columns, one.rows, one.spacing or ()) for one in slices))
    if not all(_is_one_grid(grids[0], other) for other in grids[1:]):
        spacings = [" x ".join(f"{mm:g}" for mm in spacing) for _, _, spacing in grids]
        shown = " and ".join(f"{i} x {j} at {mm} mm" for (i, j, _), mm in list(zip(grids, spacings, strict=True))[:2])
        raise RejectedInput(Code.MATRIX, f"slices of one series differ in their grid: {shown}")


def _is_one_grid(one: Grid, other: Grid) -> bool:
    """Whether columns and rows are the same, and spacings but for what rounding leaves."""
    pairs = zip(one[2], other[2], strict=True)
    return one[:2] == other[:2] and all(math.isclose(a, b, rel_tol=SAME_SPACING) for a, b in pairs)


def _by_frame_of_reference(slices: Sequence[Slice]) -> list[list[Slice]]:
    groups: dict[str, list[Slice]] = defaultdict(list)
    for one in slices:
        groups[one.frame_of_reference].append(one)
    return list(groups.values())


def _by_orientation(slices: Sequence[Slice]) -> list[list[Slice]]:
    groups: list[list[Slice]] = []
    for one in slices:
        near = next((group for group in groups if _difference(group[0], one) <= ORIENTATION_TOLERANCE), None)
        if near is None:
            groups.append([one])
        else:
            near.append(one)
    return groups


def _difference(a: Slice, b: Slice) -> float:
    assert a.orientation is not None and b.orientation is not None
    return max(abs(x - y) for x, y in zip(a.orientation, b.orientation, strict=True))


def _degrees(a: Slice, b: Slice) -> float:
    """Angle between the planes of two slices."""
    return float(np.degrees(np.arccos(np.clip(abs(float(normal_of(a) @ normal_of(b))), 0, 1))))
