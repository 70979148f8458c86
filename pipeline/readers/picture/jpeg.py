"""JPEG: greyscale and colour, decoded by Pillow (libjpeg-turbo)."""

import numpy as np
from numpy.typing import NDArray
from PIL.JpegImagePlugin import JpegImageFile

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.jpeg_scans import refilled
from pipeline.readers.picture.decoding import Header, decoded, opened, orientation_of

SIGNATURE = b"\xff\xd8\xff"
END = b"\xff\xd9"
CHANNELS = {"L": 1, "RGB": 3}


def header(content: bytes) -> Header:
    """Size and channels.

    Raises
    ------
    RejectedInput
        TRUNCATED, CORRUPT, NOT_SUPPORTED (four colours, as printers have).
    """
    if END not in content:
        raise RejectedInput(Code.TRUNCATED, "the picture lacks its end")
    with opened(JpegImageFile, content) as image:
        if image.mode not in CHANNELS:
            raise RejectedInput(Code.NOT_SUPPORTED, f"it has the colour space {image.mode}")
        columns, rows = image.size
        return Header(columns, rows, CHANNELS[image.mode], orientation_of(image.info.get("exif", b"")))


def samples(content: bytes) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """Decode samples, shape (rows, columns, channels), twice: Pillow fills up what is missing before the end.

    Raises
    ------
    RejectedInput
        TRUNCATED, CORRUPT. What cannot be seen to be missing is told in :mod:`pipeline.readers.jpeg_scans`.
    """
    first, second = _decoded(content), _decoded(refilled(content))
    if not np.array_equal(first, second):
        raise RejectedInput(Code.TRUNCATED, "data are missing from the picture, where a decoder fills up")
    return first, ()


def _decoded(content: bytes) -> NDArray[np.generic]:
    with opened(JpegImageFile, content) as image:
        return decoded(image, None)
