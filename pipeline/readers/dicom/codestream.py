"""What a compressed image says of itself: JPEG and JPEG-LS (ITU-T T.81 B.2.2, T.87 C.2.2), JPEG 2000 (T.800 A.5.1).

The header of the file says the same things a second time. Where the two differ, the pixels may be anything.
"""

import struct
from dataclasses import dataclass

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput

J2K_START = b"\xff\x4f\xff\x51"
JPEG_START = b"\xff\xd8"
FRAME_HEADERS = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xF7})
"""Start-of-frame markers: baseline, extended, progressive, lossless, JPEG-LS."""

CODING_STYLE, START_OF_TILE = 0xFF52, 0xFF90
"""Segments of JPEG 2000: how the image is coded; the end of the main header (T.800 A.2)."""

STANDALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})
"""Markers without a length."""

END_OF_IMAGE = b"\xff\xd9"
"""Last marker of a JPEG and a JPEG-LS stream (ITU-T T.81 B.1.1.3)."""

PADDING = b"\0\xff"
"""Bytes that writers append to make the length even."""


@dataclass(frozen=True, slots=True)
class Codestream:
    """Size and depth of the samples.

    Attributes
    ----------
    transformed : bool
        Whether the stream carries a transform of its colours (JPEG 2000 alone does), which decoding undoes: to RGB.
    """

    columns: int
    rows: int
    components: int
    precision: int
    signed: bool
    transformed: bool = False


def describe(stream: bytes) -> Codestream:
    """Read the frame header of a compressed image.

    Raises
    ------
    RejectedInput
        CORRUPT where there is none.
    """
    try:
        found = _jpeg(stream) if stream[:2] == JPEG_START else _jpeg_2000(stream)
    except (struct.error, IndexError) as error:
        raise RejectedInput(Code.CORRUPT, "the compressed pixels end within their header") from error
    if found is None:
        raise RejectedInput(Code.CORRUPT, "the compressed pixels have no header that is known")
    return found


def _jpeg(stream: bytes) -> Codestream | None:
    position = 2
    while position + 4 <= len(stream):
        if stream[position] != 0xFF:
            return None
        marker = stream[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in STANDALONE:
            position += 2
        elif marker in FRAME_HEADERS:
            precision, rows, columns, components = struct.unpack_from(">BHHB", stream, position + 4)
            return Codestream(columns, rows, components, precision, signed=False)
        else:
            position += 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
    return None


def _jpeg_2000(stream: bytes) -> Codestream | None:
    start = stream.find(J2K_START)
    if start < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
    (components,) = struct.unpack_from(">H", stream, start + 40)
    depths = {stream[start + 42 + 3 * number] for number in range(components)}
    if len(depths) != 1:
        return None
    depth = depths.pop()
    transformed = _is_transformed(stream, start + 2) if components > 1 else False
    if transformed is None:
        return None
    return Codestream(
        right - left, bottom - top, components, (depth & 0x7F) + 1, bool(depth & 0x80), transformed=transformed
    )


def _is_transformed(stream: bytes, position: int) -> bool | None:
    """Whether the coding style of the main header (COD, T.800 A.6.1) has the multiple component transform.

    None where the main header, of which the first segment begins at `position`, has no coding style, which it must.
    """
    while position + 4 <= len(stream):
        marker, length = struct.unpack_from(">HH", stream, position)
        if marker == CODING_STYLE:
            return bool(stream[position + 8])
        if marker == START_OF_TILE:
            return None
        position += 2 + length
    return None


def is_ended(stream: bytes) -> bool:
    """Whether a JPEG or JPEG-LS stream ends with its last marker, apart from what makes its length even."""
    return stream.rstrip(PADDING).endswith(END_OF_IMAGE)
