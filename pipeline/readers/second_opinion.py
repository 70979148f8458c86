"""A series as SimpleITK reads it, for a comparison with what our own readers made of it.

Nothing of ours is used but the bytes of the files: ITK parses, decodes and rescales (GDCM for DICOM), and the slices
are ordered here by its positions. The files are copied to a temporary folder, one at a time and under neutral names.
The headers are read first and one slice at a time is decoded then: our volume fills the memory of the worker already.
"""

import importlib.util
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.series import Series, SourceFile
from pipeline.readers.reader import Load

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM and ITK count to the left and to the back (PS3.3 C.7.6.2.1.1)."""

SYNTAX = "0002|0010"
LOSSY_SYNTAXES = frozenset(f"1.2.840.10008.1.2.4.{part}" for part in ("50", "51", "81", "91", "203"))
"""Transfer syntaxes whose decoders may differ by rounding (PS3.5 8.2)."""

GZIP, PNG, JPEG = b"\x1f\x8b", b"\x89PNG", b"\xff\xd8"

NO_SUCH_FILE = "it does not read such a file"
NO_MEMORY = "it would need more memory than a worker may take"
NO_TIME = "it would take longer than a case may"
OUT_OF_MEMORY = ("allocate memory", "bad_alloc")
"""What the errors of ITK say then; all are of one class."""


class UnreadError(Exception):
    """SimpleITK cannot read a series; the text says why, and nothing of its header."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What SimpleITK makes of a series.

    Attributes
    ----------
    shape : tuple of int
        (k, c, i, j).
    plane : callable
        Slice of an index, in the order of positions, of shape (c, i, j) in the numbers of ITK; raises `UnreadError`.
    matrix : ndarray of float64, shape (4, 4), or None
        Voxel index to RAS+, mm; None for single images, of which ITK invents the place.
    is_rounded : bool
        Lossy or colour: another decoder may differ by rounding.
    """

    shape: tuple[int, int, int, int]
    plane: Callable[[int], NDArray[Any]]
    matrix: NDArray[np.float64] | None
    is_rounded: bool = False


def is_installed() -> bool:
    """Whether SimpleITK can be imported."""
    return importlib.util.find_spec("SimpleITK") is not None


def load_library() -> None:
    """Import SimpleITK now, where it can be: its code takes some hundred megabytes of address space."""
    with suppress(ImportError):
        _simpleitk()


@contextmanager
def unread_for_memory() -> Iterator[None]:
    """Turn a want of memory into an `UnreadError`: a series that we could read is not refused for it."""
    try:
        yield
    except (MemoryError, ImportError) as error:  # the library itself may not fit
        raise UnreadError(NO_MEMORY) from error


def second_opinion(series: Series, load: Load, deadline: float = math.inf) -> Opinion:
    """Read the headers of a series with SimpleITK.

    Parameters
    ----------
    deadline : float
        Time by `time.monotonic` after which no further file is read.

    Raises
    ------
    UnreadError
    """

    def opened(file: SourceFile, *, whole: bool) -> Any:
        if monotonic() > deadline:
            raise UnreadError(NO_TIME)
        return _opened(load(file), series.reader, whole=whole)

    if series.reader != "dicom":
        return _whole(opened(series.files[0], whole=True), has_place=series.reader == "nifti")
    heads = [(opened(file, whole=False), file) for file in series.files]
    if any(head.GetDimension() != 3 or head.GetSize()[2] != 1 for head, _ in heads):
        raise UnreadError("it does not tell the positions of the frames of a multi-frame object")
    return _stacked(heads, lambda file: _plane(opened(file, whole=True), 0))


def _opened(content: bytes, reader: str, *, whole: bool) -> Any:
    """Image of a file, or the reader that has read its header alone."""
    sitk = _simpleitk()
    sitk.ProcessObject.GlobalWarningDisplayOff()
    endings = ((GZIP, ".nii.gz", "NiftiImageIO"), (PNG, ".png", "PNGImageIO"), (JPEG, ".jpg", "JPEGImageIO"))
    known = ((ending, decoder) for start, ending, decoder in endings if content.startswith(start))
    ending, decoder = (".dcm", "GDCMImageIO") if reader == "dicom" else next(known, (".nii", "NiftiImageIO"))
    with tempfile.TemporaryDirectory(prefix="resdx-") as folder:
        path = Path(folder, f"file{ending}")
        path.write_bytes(content)
        asked = sitk.ImageFileReader()
        asked.SetImageIO(decoder)
        asked.SetFileName(str(path))
        try:
            if whole:
                return asked.Execute()
            asked.ReadImageInformation()
        except RuntimeError as error:  # its text may hold values of the header
            is_memory = any(words in str(error) for words in OUT_OF_MEMORY)
            raise UnreadError(NO_MEMORY if is_memory else NO_SUCH_FILE) from None
        return asked


def _stacked(heads: list[tuple[Any, SourceFile]], plane: Callable[[SourceFile], NDArray[Any]]) -> Opinion:
    """Order single slices along their normal."""
    turn = np.array(heads[0][0].GetDirection()).reshape(3, 3)
    normal = np.cross(turn[:, 0], turn[:, 1])
    heads = sorted(heads, key=lambda head: float(np.dot(normal, head[0].GetOrigin())))
    first, last = (np.array(head.GetOrigin()) for head, _ in (heads[0], heads[-1]))
    step = (last - first) / (len(heads) - 1) if len(heads) > 1 else normal
    spacing = heads[0][0].GetSpacing()
    matrix = np.eye(4)
    matrix[:3] = np.stack([turn[:, 0] * spacing[0], turn[:, 1] * spacing[1], step, first], axis=1)
    syntaxes = {head.GetMetaData(SYNTAX).strip(" \0") for head, _ in heads if head.HasMetaDataKey(SYNTAX)}
    channels = heads[0][0].GetNumberOfComponents()
    columns, rows = heads[0][0].GetSize()[:2]
    return Opinion(
        (len(heads), channels, columns, rows),
        lambda k: plane(heads[k][1]),
        LPS_TO_RAS @ matrix if len(heads) > 1 else None,
        is_rounded=channels > 1 or bool(syntaxes & LOSSY_SYNTAXES),
    )


def _whole(image: Any, has_place: bool) -> Opinion:
    """Take a file that holds the whole image."""
    matrix = None
    columns, rows, *rest = image.GetSize()
    shape = (math.prod(rest), image.GetNumberOfComponentsPerPixel(), columns, rows)
    if has_place and image.GetDimension() == 3:
        turn = np.array(image.GetDirection()).reshape(3, 3)
        place = np.eye(4)
        place[:3, :3], place[:3, 3] = turn * np.array(image.GetSpacing()), image.GetOrigin()
        matrix = LPS_TO_RAS @ place
    return Opinion(shape, lambda k: _plane(image, k), matrix, is_rounded=not has_place)


def _plane(image: Any, k: int) -> NDArray[Any]:
    """Slice of an image, (c, i, j), as a copy: a view does not keep the image alive."""
    values: NDArray[Any] = _simpleitk().GetArrayViewFromImage(image)  # (k, j, i) or (j, i), then the components
    if image.GetNumberOfComponentsPerPixel() == 1:
        values = values[..., None]
    values = values.reshape(-1, *values.shape[-3:])
    plane: NDArray[Any] = values[k].transpose(2, 1, 0).copy()
    return plane


def _simpleitk() -> Any:
    import SimpleITK

    return SimpleITK
