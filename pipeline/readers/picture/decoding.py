"""What Pillow is asked, and what its errors mean."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Exif
from PIL.ImageFile import ImageFile

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput

ORIENTATION = 0x0112
"""EXIF tag: which corner of the scene the first row and column are (1, the usual, to 8)."""

DAMAGE = (
    SyntaxError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    EOFError,
    NotImplementedError,
    struct.error,
    zlib.error,
)
"""What Pillow raises on damaged bytes."""


@dataclass(frozen=True, slots=True)
class Header:
    """Size as stored, channels, and how EXIF says that the picture is to be turned."""

    columns: int
    rows: int
    channels: int
    orientation: int

    @property
    def shape(self) -> tuple[int, int]:
        """Columns and rows once turned."""
        return (self.rows, self.columns) if self.orientation >= 5 else (self.columns, self.rows)


def orientation_of(exif: bytes) -> int:
    """Orientation in a block of EXIF data; one that is absent, damaged or undefined is 1."""
    found = Exif()
    orientation = 1
    with suppress(*DAMAGE):
        found.load(exif)
        orientation = int(found.get(ORIENTATION, 1))
    return orientation if 1 <= orientation <= 8 else 1


@contextmanager
def opened(kind: type[ImageFile], content: bytes) -> Iterator[ImageFile]:
    """Open an image without decoding it; Pillow's errors become RejectedInput."""
    try:
        with kind(BytesIO(content)) as image:
            yield image
    except RejectedInput:
        raise
    except DAMAGE as error:
        raise RejectedInput(*_verdict(str(error).lower())) from error


def _verdict(text: str) -> tuple[Code, str]:
    if "truncated" in text:
        return Code.TRUNCATED, "the picture ends early"
    if "cannot handle" in text:
        return Code.NOT_SUPPORTED, "the picture has a depth that is not read"
    return Code.CORRUPT, "the picture is damaged"


def decoded(image: ImageFile, mode: str | None) -> NDArray[np.generic]:
    """Decode samples, shape (rows, columns, channels), after conversion to a mode of Pillow where one is given."""
    image.load()
    array = np.asarray(image if mode in (None, image.mode) else image.convert(mode))
    return array if array.ndim == 3 else array[..., np.newaxis]


def upright(array: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Turn and mirror (rows, columns, channels) as EXIF asks, so that the scene stands upright (TIFF 6, tag 274)."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return array
