"""From the positions of slices to the affine of a volume (PS3.3 C.7.6.2.1.1), or the reason why there is none."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.domain.geometry import ORTHOGONAL_TOLERANCE, Geometry, Unit
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.orientation import normal_of
from pipeline.readers.dicom.slices import Slice
from pipeline.readers.dicom.stated import check_stated_distance, tilt_notes

SPACING_TOLERANCE = 0.01
"""Largest deviation of one slice distance from the median, as a part of it."""

SPACING_TOLERANCE_MM = 0.02
"""Deviation that is always allowed: positions are often rounded to a hundredth of a millimetre."""

DRIFT_TOLERANCE = 0.1
"""Largest distance of a slice from where an even spacing puts it, as a part of the spacing: small errors add up."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def geometry_of(slices: Sequence[Slice]) -> tuple[Geometry, tuple[str, ...]]:
    """Affine of a stack whose slices are in the order of their positions, and notes for a reviewer.

    Raises
    ------
    RejectedInput
        GAP, SPACING or TILT, naming millimetres or degrees; NO_SPACING for a single slice without a thickness.
    """
    first = slices[0]
    assert first.spacing is not None and first.orientation is not None
    row, column, normal = frame_of(slices)
    positions = np.array([one.position for one in slices])
    step = _step(slices, positions)
    matrix = np.eye(4)
    matrix[:3, 0] = row * first.spacing[1]
    matrix[:3, 1] = column * first.spacing[0]
    matrix[:3, 2] = step
    matrix[:3, 3] = positions[0]
    geometry = sound_geometry((first.columns, first.rows, len(slices)), LPS_TO_RAS @ matrix)
    notes = () if first.frame_of_reference else ("FrameOfReferenceUID is missing",)
    notes = (*notes, *tilt_notes(slices, normal))
    if len(slices) > 1:
        notes = (*notes, *check_stated_distance(slices, float(np.linalg.norm(step))))
    return geometry, notes


def frame_of(slices: Sequence[Slice]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean direction of a row and of a column, and the normal of both: unit vectors, LPS+."""
    mean = np.mean(np.array([one.orientation for one in slices], dtype=np.float64), axis=0)
    row, column = mean[:3] / np.linalg.norm(mean[:3]), mean[3:] / np.linalg.norm(mean[3:])
    normal = np.cross(row, column)
    return row, column, normal / np.linalg.norm(normal)


def are_even(heights: NDArray[np.float64]) -> bool:
    """Whether heights along the normal, mm, in ascending order, are those of evenly spaced slices."""
    try:
        check_distances(np.diff(heights))
    except RejectedInput:
        return False
    even = np.linspace(heights[0], heights[-1], len(heights))
    return bool(np.abs(heights - even).max() <= DRIFT_TOLERANCE * (even[1] - even[0]))


def sound_geometry(shape: tuple[int, int, int], matrix: NDArray[np.float64], unit: Unit = Unit.MM) -> Geometry:
    """Build a geometry.

    Raises
    ------
    RejectedInput
        BAD_VALUE where the header's numbers make none: not finite, or a voxel without extent.
    """
    try:
        return Geometry.from_matrix(shape, matrix, unit)
    except ValueError as error:
        raise RejectedInput(Code.BAD_VALUE, "position, orientation and spacing make no sound affine") from error


def _step(slices: Sequence[Slice], positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vector from one slice to the next, LPS+, mm."""
    normal = normal_of(slices[0])
    if len(slices) == 1:
        thickness = slices[0].thickness
        if thickness is None:
            raise RejectedInput(Code.NO_SPACING, "a single slice without SliceThickness")
        return normal * thickness
    distances = np.diff(positions @ normal)
    check_distances(distances, slices[0].thickness)
    step = (positions[-1] - positions[0]) / (len(slices) - 1)
    _check_straight(positions, step, normal)
    return np.asarray(step)


def check_distances(distances: NDArray[np.float64], thickness: float | None = None) -> None:
    """Refuse distances (mm, along the normal) that are not all the same.

    Parameters
    ----------
    thickness : float or None
        SliceThickness, mm: where it is the least distance, any number of slices may be missing.

    Raises
    ------
    RejectedInput
        GAP where the odd ones are whole multiples of the others, else SPACING.
    """
    typical = float(np.median(distances))
    if _near(distances, typical).all():
        return
    least = float(distances.min())
    if least > SPACING_TOLERANCE_MM:
        times = np.round(distances / least)
        wide = times > 1
        is_step = thickness is not None and bool(_near(np.array([least]), thickness).all())
        if _near(distances, times * least).all() and (is_step or wide.sum() <= len(wide) - wide.sum()):
            at = int(np.argmax(wide))
            missing = int((times - 1).sum())
            message = f"{missing} slice{'s' * (missing > 1)} missing: {distances[at]:.2f} mm instead of {least:.2f} mm"
            raise RejectedInput(Code.GAP, f"{message}, after slice {at + 1} of {len(distances) + 1}")
    message = f"the distance between slices varies from {distances.min():.2f} to {distances.max():.2f} mm"
    raise RejectedInput(Code.SPACING, message)


def _near(distances: NDArray[np.float64], wanted: float | NDArray[np.float64]) -> NDArray[np.bool_]:
    allowed = np.maximum(SPACING_TOLERANCE * np.abs(wanted), SPACING_TOLERANCE_MM)
    return np.asarray(np.abs(distances - wanted) <= allowed)


def _check_straight(positions: NDArray[np.float64], step: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    """Refuse slices that are shifted sideways: evenly by a tilted gantry, or one of them."""
    sine = float(np.linalg.norm(np.cross(step, normal)) / np.linalg.norm(step))
    if sine > ORTHOGONAL_TOLERANCE:
        degrees = np.degrees(np.arcsin(min(1.0, sine)))
        raise RejectedInput(Code.TILT, f"the slices are stacked at {degrees:.2f} degrees to their normal")
    line = positions[0] + np.arange(len(positions))[:, np.newaxis] * step
    along = np.abs((positions - line) @ normal)
    if along.max() > DRIFT_TOLERANCE * float(np.linalg.norm(step)):
        message = f"slice {int(along.argmax()) + 1} lies {along.max():.2f} mm off an even spacing"
        raise RejectedInput(Code.SPACING, message)
    check_sideways(positions, line, normal)


def check_sideways(positions: NDArray[np.float64], line: NDArray[np.float64], normal: NDArray[np.float64]) -> None:
    """Refuse slices that leave the straight line of their stack.

    Parameters
    ----------
    positions, line : ndarray, shape (slices, 3)
        Where each slice is, and where the line has it, mm.

    Raises
    ------
    RejectedInput
        MATRIX.
    """
    step = float(np.linalg.norm(line[-1] - line[0])) / (len(line) - 1)
    sideways = np.linalg.norm(np.cross(positions - line, normal), axis=1)
    if sideways.max() > max(SPACING_TOLERANCE * step, SPACING_TOLERANCE_MM):
        message = f"slice {int(sideways.argmax()) + 1} is shifted sideways by {sideways.max():.2f} mm"
        raise RejectedInput(Code.MATRIX, message)
