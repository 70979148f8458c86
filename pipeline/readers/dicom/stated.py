"""What a header states about slices, beside the positions and the orientation that geometry rests on.

SpacingBetweenSlices (PS3.3 C.8.3.1.1.1, C.7.6.16.2.1) is measured from centre to centre. Positions go before it: where
the two contradict each other the case carries a note. But where the positions are a whole multiple of it apart, the
slices between them were made and are not there; that is a gap.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.orientation import FEWEST_SLICES
from pipeline.readers.dicom.slices import Slice

STATED_TOLERANCE, STATED_TOLERANCE_MM = 0.01, 0.02
"""Deviation of the stated distance from that of the positions that is no contradiction."""

MOST_OF_A_STEP = 0.1
"""Part of the stated distance that is a contradiction, however fine the slices are."""

FAR_APART = 1.9
"""Distance of slices, in parts of their thickness, from which it is noted."""

SAME_PLACE_MM = 0.1
"""Difference of two SliceLocations that is none: some are rounded."""

LEAST_TILT, MOST_TILT = 1.0, 60.0
"""Degrees by which a gantry is tilted, where it is; scanners reach 30."""


def stated_by_all(slices: Sequence[Slice]) -> float | None:
    """Distance between slices that every slice states, mm; None where they do not agree."""
    stated = {one.stated_distance for one in slices}
    return stated.pop() if len(stated) == 1 else None


def check_stated_distance(slices: Sequence[Slice], distance: float) -> tuple[str, ...]:
    """Compare an even distance of positions, mm, with the stated one; return notes for a reviewer.

    Raises
    ------
    RejectedInput
        GAP where positions are two or more stated distances apart.
    """
    stated = stated_by_all(slices)
    if stated is None:
        return _thin_notes(slices[0].thickness, distance)
    if _is_near(distance, stated):
        return ()
    times, thickness = round(distance / stated), slices[0].thickness
    # Some scanners state the empty space between slices instead of the distance of their centres.
    is_space = thickness is not None and _is_near(thickness + stated, distance) and not _is_near(thickness, stated)
    said = f"SpacingBetweenSlices is {stated:.2f} mm, the positions of the slices are {distance:.2f} mm apart"
    if times > 1 and _is_near(distance, times * stated) and not is_space:
        raise RejectedInput(Code.GAP, f"{said}: {times - 1} of {times} slices are missing throughout")
    return (f"{said}: the positions count",)


def _thin_notes(thickness: float | None, distance: float) -> tuple[str, ...]:
    """Note slices far apart: acquired so (a sample of the lung), or an export that lacks most of them."""
    if thickness is None or distance < FAR_APART * thickness:
        return ()
    return (f"slices of {thickness:.2f} mm are {distance:.2f} mm apart: what lies between them was not seen",)


def wanted_multiple(slices: Sequence[Slice], heights: NDArray[np.float64]) -> int:
    """How many times as dense the slices lie as one of them says; 1 where they lie as stated, or nothing is stated.

    Parameters
    ----------
    heights : ndarray
        Their positions along the normal, mm, in ascending order.

    Returns
    -------
    int
        By SpacingBetweenSlices, or, where that is absent, SliceThickness.
    """
    wanted = stated_by_all(slices) or slices[0].thickness
    distances = np.diff(heights)
    if wanted is None or not len(distances):
        return 1
    typical = float(np.median(distances))
    times = round(wanted / typical)
    return times if times > 1 and _is_near(times * typical, wanted) else 1


def _is_near(distance: float, wanted: float) -> bool:
    allowed = max(STATED_TOLERANCE * abs(wanted), min(STATED_TOLERANCE_MM, MOST_OF_A_STEP * abs(wanted)))
    return abs(distance - wanted) <= allowed


def check_stated_places(slices: Sequence[Slice]) -> None:
    """Refuse images of one position of which SliceLocation says that they lie at several.

    Raises
    ------
    RejectedInput
        BAD_VALUE.
    """
    stated = [one.stated_place for one in slices if one.stated_place is not None]
    if len({one.position for one in slices}) > 1 or len(slices) < FEWEST_SLICES or len(stated) < len(slices):
        return
    if max(stated) - min(stated) > SAME_PLACE_MM:
        message = f"{len(slices)} images have one ImagePositionPatient, and SliceLocation puts them at several places"
        raise RejectedInput(Code.BAD_VALUE, message)


def tilt_notes(slices: Sequence[Slice], normal: NDArray[np.float64]) -> tuple[str, ...]:
    """Note where the gantry was tilted and axial slices are not.

    Parameters
    ----------
    normal : ndarray, shape (3,)
        Of the slices, of unit length, LPS+.
    """
    tilt = slices[0].tilt
    if tilt is None or not LEAST_TILT <= abs(tilt) <= MOST_TILT:
        return ()
    if np.degrees(np.arccos(min(1.0, abs(float(normal[2]))))) > LEAST_TILT:
        return ()
    return (
        f"GantryDetectorTilt is {tilt:g} degrees and the slices are not tilted: they were reconstructed straight, or "
        "their orientation is wrong",
    )
