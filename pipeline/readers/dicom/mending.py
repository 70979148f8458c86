"""Slices that are tilted or unevenly spaced, on a straight grid: what `read.mend` asks for, and nothing else."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.domain.geometry import ORTHOGONAL_TOLERANCE, Geometry
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.geometry import LPS_TO_RAS, are_even, check_sideways, frame_of, geometry_of, sound_geometry
from pipeline.readers.dicom.slices import Slice
from pipeline.readers.options import ReadOptions
from pipeline.readers.resampling import GRID_TOLERANCE, Resampling, check_size

Vectors = NDArray[np.float64]


def mended_geometry(
    slices: Sequence[Slice], options: ReadOptions
) -> tuple[Geometry, tuple[str, ...], Resampling | None]:
    """Geometry of a stack and notes, as :func:`pipeline.readers.dicom.geometry.geometry_of`, mended where asked.

    The straight grid has the orientation and the pixel spacing of the slices. It begins at the first slice and grows
    sideways by whole pixels until it holds every slice. Its slices are as far apart as the stored ones along their
    normal, or, where those are uneven, as the two of them that are nearest to each other.

    Returns
    -------
    geometry, notes, resampling
        The last is None where nothing was mended.

    Raises
    ------
    RejectedInput
        As :func:`geometry_of` for what is not to be mended, or is further apart than the limit; TOO_LARGE.
    """
    try:
        return *geometry_of(slices), None
    except RejectedInput as error:
        may = {Code.TILT: options.mend.tilt, Code.GAP: options.mend.spacing, Code.SPACING: options.mend.spacing}
        if not may.get(Code(error.code), False):
            raise
        return _mended(slices, options, error)


def _mended(
    slices: Sequence[Slice], options: ReadOptions, fault: RejectedInput
) -> tuple[Geometry, tuple[str, ...], Resampling]:
    row, column, normal = frame_of(slices)
    positions = np.array([one.position for one in slices], dtype=np.float64)
    heights = (positions - positions[0]) @ normal
    lean = (positions[-1] - positions[0]) / heights[-1]  # sideways and along the normal, for each mm of height
    check_sideways(positions, positions[0] + heights[:, np.newaxis] * lean, normal)
    tangent = float(np.linalg.norm(np.cross(lean, normal)))
    is_tilted = tangent / float(np.linalg.norm(lean)) > ORTHOGONAL_TOLERANCE
    if is_tilted and not options.mend.tilt:
        degrees = np.degrees(np.arctan(tangent))
        raise RejectedInput(Code.TILT, f"the slices are stacked at {degrees:.2f} degrees to their normal")
    levels, spacing_notes = _levels(heights, options, fault)
    first = slices[0]
    assert first.spacing is not None
    size = np.array([first.spacing[1], first.spacing[0]])
    offsets = (
        (positions - positions[0]) @ np.stack([row, column], axis=1) / size if is_tilted else np.zeros((len(slices), 2))
    )
    low, high = np.floor(offsets.min(0) + GRID_TOLERANCE), np.ceil(offsets.max(0) - GRID_TOLERANCE)
    shape = (first.columns + int(high[0] - low[0]), first.rows + int(high[1] - low[1]), len(levels))
    check_size(shape, options.max_bytes)
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1] = row * size[0], column * size[1]
    matrix[:3, 2] = (normal if is_tilted else lean) * (levels[1] - levels[0])
    matrix[:3, 3] = positions[0] + matrix[:3, 0] * low[0] + matrix[:3, 1] * low[1]
    geometry = sound_geometry(shape, LPS_TO_RAS @ matrix)
    in_plane = np.zeros((len(slices), 2, 3))
    in_plane[:, 0, 0] = in_plane[:, 1, 1] = 1.0
    in_plane[:, :, 2] = low - offsets
    along = np.interp(levels, heights, np.arange(len(heights)))
    notes = (*_missing_frame(first), *_tilt_notes(tangent, is_tilted), *spacing_notes)
    return geometry, notes, Resampling(geometry, in_plane, along)


def _levels(heights: Vectors, options: ReadOptions, fault: RejectedInput) -> tuple[Vectors, tuple[str, ...]]:
    """Heights of the slices of the straight grid above the first one, mm, and a note where they are mended."""
    distances = np.diff(heights)
    if are_even(heights):
        note = f"MENDED: taken as they are: {fault.message}"
        is_gap = fault.code == Code.GAP and options.mend.spacing
        return np.linspace(0.0, heights[-1], len(heights)), (note,) if is_gap else ()
    if not options.mend.spacing:
        raise fault
    least, widest = float(distances.min()), float(distances.max())
    if widest > options.mend.largest_gap_mm:
        limit = f"{widest:.2f} mm is more than read.mend.largest_gap_mm, {options.mend.largest_gap_mm:g}"
        raise RejectedInput(Code(fault.code), f"{fault.message}; {limit}")
    count = int(np.floor(heights[-1] / least + GRID_TOLERANCE)) + 1
    note = f"MENDED: slices {least:.2f} to {widest:.2f} mm apart were interpolated to an even {least:.2f} mm"
    return np.arange(count, dtype=np.float64) * least, (note,)


def _tilt_notes(tangent: float, is_tilted: bool) -> tuple[str, ...]:
    degrees = float(np.degrees(np.arctan(tangent)))
    return (f"MENDED: a tilt of {degrees:.2f} degrees was resampled to a straight grid",) if is_tilted else ()


def _missing_frame(first: Slice) -> tuple[str, ...]:
    return () if first.frame_of_reference else ("FrameOfReferenceUID is missing",)
