"""What readers share whose series is one file that says neither patient nor modality: NIfTI and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Geometry
from pipeline.domain.series import Series, SourceFile
from pipeline.errors import RejectedInput
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import Assembled, HeaderCutError


@dataclass(frozen=True, slots=True)
class Inspected:
    """A file whose header is sound."""

    file: SourceFile
    geometry: Geometry


def check_whole(file: SourceFile, content: bytes) -> None:
    """Ask for the whole of a file of which only the beginning is at hand.

    Raises
    ------
    HeaderCutError
    """
    if len(content) < file.size:
        raise HeaderCutError


def assemble(reader: str, headers: Sequence[Inspected], options: ReadOptions) -> Assembled:
    """Make a series of each file; the modality is the option's, or empty."""
    return Assembled(tuple(_series(reader, header, options) for header in headers), ())


def modality_of(series: Series, options: ReadOptions) -> str:
    """Modality that was recorded for the series, else the option's.

    Raises
    ------
    RejectedInput
        NO_MODALITY: neither is known; it is not guessed.
    """
    modality = series.modality or options.modality
    if not modality:
        raise RejectedInput(Code.NO_MODALITY, "the file does not say its modality, and nothing else does")
    return modality


def constant_note(voxels: NDArray[np.float32]) -> tuple[str, ...]:
    """Note for a reviewer where every voxel has one value."""
    first = voxels[0, 0, 0, 0]
    if not (voxels[..., 0] == first).all():  # one slice of nearly every scan tells
        return ()
    return (f"CONSTANT: every voxel is {first:g}",) if (voxels == first).all() else ()


def _series(reader: str, header: Inspected, options: ReadOptions) -> Series:
    columns, rows, slices = header.geometry.shape
    attributes = {
        "columns": str(columns),
        "rows": str(rows),
        "slices": str(slices),
        "plane": header.geometry.plane.value,
        "spacing": "x".join(f"{value:g}" for value in header.geometry.spacing),
    }
    return Series(
        reader=reader,
        key=header.file.relative,
        files=(header.file,),
        modality=options.modality,
        attributes=attributes,
    )
