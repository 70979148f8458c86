"""The deflated transfer syntax (PS3.5 A.5), inflated in steps: a few bytes may stand for gigabytes."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.uid import DeflatedExplicitVRLittleEndian

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput

META_START = 132
"""Where file meta information begins: after preamble and magic (PS3.10 7.1)."""

LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Value representations whose length has four bytes (PS3.5 7.1.2)."""

STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class Inflated:
    """Output of a deflated data set.

    Attributes
    ----------
    is_whole : bool
        Whether the stream came to its end; False where it is cut off, damaged, or was left at a limit.
    at_limit : bool
        Whether there is more than was asked for.
    """

    body: bytes
    is_whole: bool
    at_limit: bool


def deflated_start(content: bytes) -> int | None:
    """Offset of the deflated data set; None where the file is not deflated."""
    if content[128:META_START] != b"DICM" or DeflatedExplicitVRLittleEndian.encode() not in content[:4096]:
        return None
    try:
        return _deflated_start(content)
    except struct.error:
        return None  # cut off within its meta information, which parsing will say


def _deflated_start(content: bytes) -> int | None:
    position, syntax = META_START, b""
    while content[position : position + 2] == b"\x02\x00":
        element = content[position + 2 : position + 4]
        long = content[position + 4 : position + 6] in LONG_VRS
        form, header = ("<I", 12) if long else ("<H", 8)
        (length,) = struct.unpack_from(form, content, position + header - struct.calcsize(form))
        if element == b"\x10\x00":
            syntax = content[position + header : position + header + length].rstrip(b"\0 ")
        position += header + length
    return position if syntax == DeflatedExplicitVRLittleEndian.encode() else None


def inflate(content: bytes, start: int, limit: int) -> Inflated:
    """Inflate at most `limit` bytes; what is damaged gives what comes before the damage."""
    parts: list[bytes] = []
    size = 0
    state = _State()
    for part in _steps(content, start, state):
        parts.append(part[: limit - size])
        size += len(part)
        if size > limit:
            return Inflated(b"".join(parts), is_whole=False, at_limit=True)
    return Inflated(b"".join(parts), is_whole=state.ended, at_limit=False)


def check_inflated_size(content: bytes, start: int, expected: int, slack: int) -> None:
    """Refuse a data set of another size than its header says, without keeping it.

    Parameters
    ----------
    expected : int
        Bytes up to the end of the pixel data.
    slack : int
        Bytes that may follow.

    Raises
    ------
    RejectedInput
        TRUNCATED or TOO_LARGE.
    """
    size = 0
    state = _State()
    for part in _steps(content, start, state):
        size += len(part)
        if size > expected + slack:
            raise RejectedInput(Code.TOO_LARGE, f"inflates to more than {expected + slack} bytes")
    if size < expected or not state.ended:
        raise RejectedInput(Code.TRUNCATED, f"the deflated data set ends after {size} bytes")


@dataclass
class _State:
    ended: bool = False


def _steps(content: bytes, start: int, state: _State) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    waiting = content[start:]
    try:
        while not inflater.eof:
            part = inflater.decompress(waiting, STEP)
            waiting = inflater.unconsumed_tail
            if not part and not waiting:
                return
            yield part
    except zlib.error:
        return
    state.ended = True
