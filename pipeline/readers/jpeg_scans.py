"""Whether the entropy-coded data of a JPEG stream is all there (ITU-T T.81 B.1.1.5, F.2, H.2).

libjpeg fills up data that ends before the image does, and only warns of it, which no binding shows. But where nothing
is missing a decoder never looks beyond the data: what is put between it and the next marker changes nothing.

A short hole within a lossy scan may stay unseen: what follows is read as other codes, which may take as many bits.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput

MARKER_BYTE = 0xFF
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
RESTARTS = range(0xD0, 0xD8)
STANDALONE = frozenset({0x01, 0xD8, *RESTARTS})
"""Markers without a length."""

MARKER = re.compile(rb"\xff+([\x01-\xfe])")
"""A marker, with the bytes that fill up before it."""

MARKER_IN_DATA = re.compile(rb"\xff([\x01-\xfe])")
"""Within entropy-coded data, where FF 00 is the value FF; searched four times as fast."""

PROGRESSIVE = 0xC2
"""Start-of-frame marker; of other frames each scan is final, whatever some writers say in it."""

COEFFICIENTS = 64
"""Of a block of 8 x 8 samples."""

FILLING = bytes.fromhex("a6b935d24e71c8931b5ae7642d8fb6590c73a1de48f2956b37c41ea85d70")
"""Bits in no order, the first of them set: a decoder that runs out of data goes on with zeros."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A marker with its parameters, and where entropy-coded data behind it end, with the marker that stands there."""

    code: int
    parameters: bytes
    ends: tuple[tuple[int, int], ...]


def refilled(stream: bytes) -> bytes:
    """Put bits that mean nothing behind all entropy-coded data: before restarts and, with another, behind scans.

    What decodes to something else then lacks data. Where no segments can be told the rest stays as it is.

    Raises
    ------
    RejectedInput
        CORRUPT where a restart (ITU-T T.81 E.1.4) is missing between others, which are counted from 0 to 7; TRUNCATED
        where a whole scan is missing.
    """
    segments = tuple(_segments(stream))
    _check_scans(segments)
    parts: list[bytes] = []
    start = restarts = 0
    for end, code in (one for segment in segments for one in segment.ends):
        parts += stream[start:end], FILLING
        start = end
        following = RESTARTS[restarts % len(RESTARTS)]
        if code not in RESTARTS:
            parts += bytes([0xFF, following]), FILLING
            restarts = 0
        elif code == following:
            restarts += 1
        else:
            raise RejectedInput(Code.CORRUPT, "a restart is missing from the compressed pixels, and what it begins")
    return b"".join([*parts, stream[start:]])


def _check_scans(segments: Sequence[Segment]) -> None:
    """Refuse a progressive frame of which no scan has the last bit of some coefficient (ITU-T T.81 B.2.3, G.1.1.1)."""
    lowest: dict[int, list[int | None]] = {}
    for segment in segments:
        told = segment.parameters
        if segment.code == PROGRESSIVE:
            lowest = {number: [None] * COEFFICIENTS for number in told[6::3]}
        elif segment.code == START_OF_SCAN and lowest and len(told) >= 4 + 2 * told[0]:
            first, last, bit = told[1 + 2 * told[0] :][:3]
            for number in told[1 : 1 + 2 * told[0] : 2]:
                for place in range(first, min(last, COEFFICIENTS - 1) + 1):
                    lowest.get(number, [None] * COEFFICIENTS)[place] = bit & 0xF
    if any(bit != 0 for bits in lowest.values() for bit in bits):
        raise RejectedInput(Code.TRUNCATED, "scans are missing from the compressed pixels, which leaves them coarse")


def _segments(stream: bytes) -> Iterator[Segment]:
    position = 2
    while (found := MARKER.match(stream, position)) is not None:
        code, position = found[1][0], found.end()
        if code == END_OF_IMAGE:
            return
        if code in STANDALONE:
            continue
        begin, position = position + 2, position + int.from_bytes(stream[position : position + 2], "big")
        ends = tuple(_ends_of_data(stream, position)) if code == START_OF_SCAN else ()
        yield Segment(code, stream[begin:position], ends)
        position = ends[-1][0] if ends else position


def _ends_of_data(stream: bytes, position: int) -> Iterator[tuple[int, int]]:
    """Where the data of a scan end: before restarts, and before the first marker that is none."""
    for marker in MARKER_IN_DATA.finditer(stream, position):
        position, code = marker.start(), marker[1][0]
        while stream[position - 1] == MARKER_BYTE:
            position -= 1
        yield position, code
        if code not in RESTARTS:
            return
