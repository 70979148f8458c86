"""Where the elements of a little endian data set lie in its bytes (PS3.5 7): nothing is decoded."""

from functools import lru_cache
from struct import Struct

from pydicom.datadict import dictionary_has_tag, dictionary_VR

MAGIC_OFFSET = 128

PIXEL_TAGS = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009})
"""Pixel Data, Float Pixel Data, Double Float Pixel Data (PS3.3 C.7.6.3, C.7.6.24, C.7.6.25)."""

SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
"""Value representations whose length takes 2 bytes (PS3.5 7.1.2)."""

LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())

EXPLICIT_VRS = SHORT_VRS | LONG_VRS

UNDEFINED = 0xFFFFFFFF
PIXEL_GROUP, ITEM_GROUP = 0x7FE0, 0xFFFE
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
ITEM_BYTES = b"\xfe\xff\x00\xe0"

MOST_LEVELS = 16
"""Sequences nested deeper than in nearly every file are pydicom's."""

SHORT = {vr: vr.decode() for vr in SHORT_VRS}
LONG = {vr: vr.decode() for vr in LONG_VRS}
EXPLICIT, IMPLICIT, LENGTH = Struct("<HH2sH").unpack_from, Struct("<HHL").unpack_from, Struct("<L").unpack_from


class OddError(Exception):
    """Not plain: pydicom shall look at it. Bytes that end early may raise struct.error too."""


@lru_cache(maxsize=65536)
def known_vr(tag: int) -> str:
    """Value representation that the dictionary gives an element of an implicit data set."""
    return dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"


def walk(
    content: bytes,
    position: int,
    end: int | None,
    *,
    implicit: bool,
    marks: list[int],
    starts: dict[int, int] | None = None,
    group: int = 0,
    level: int = 0,
) -> int:
    """Walk the elements of a data set; return where it ends, which is at `end` where that is known.

    Of the file itself (level 0) it ends before the pixel data, with the bytes, or before an element of another `group`
    than the one that is asked for. An item of undefined length ends behind its delimiter. What reaches beyond the
    bytes shows when the next element is unpacked, or at the end.

    `marks` gains the places from which on 8 bytes each were looked at: nothing else tells where the elements lie.
    """
    limit = len(content)
    while position != end:
        start, code = position, b""
        if implicit:
            upper, lower, length = IMPLICIT(content, position)
        else:
            upper, lower, code, length = EXPLICIT(content, position)
        marks.append(start)
        number = upper << 16 | lower
        position += 8
        if upper >= PIXEL_GROUP or group:
            if level == 0 and (number in PIXEL_TAGS or (group and upper != group)):
                return start
            if number == ITEM_END and end is None and level:
                return position
            if upper == ITEM_GROUP:
                raise OddError
        kind = SHORT.get(code)
        if kind is None:
            kind, position, length = long_element(content, position, length, code, number)
            marks.append(position - 8 if code else start)
        if kind == "SQ":
            position, _ = walk_sequence(content, position, length, implicit=implicit, marks=marks, level=level)
        elif length == UNDEFINED:
            raise OddError
        else:
            position += length
        if starts is not None:
            if number in starts:  # which of the two is meant?
                raise OddError
            starts[number] = start
            if position == limit:
                return position
    return position


def long_element(content: bytes, position: int, length: int, code: bytes, number: int) -> tuple[str, int, int]:
    """Kind of an element that has a long length, or no `code` (implicit); where its value begins; its length."""
    if code:
        if code not in LONG:
            raise OddError
        return LONG[code], position + 4, LENGTH(content, position)[0]
    kind = known_vr(number)
    if kind == "UN" and length == UNDEFINED and content[position : position + 4] == ITEM_BYTES:
        kind = "SQ"  # of a vendor; the walk of its items marks what was looked at
    return kind, position, length


def walk_sequence(
    content: bytes, position: int, length: int, *, implicit: bool, marks: list[int], level: int
) -> tuple[int, int]:
    """Walk the items of a sequence (PS3.5 7.5); return where the next element begins, and where the last item ends."""
    if level >= MOST_LEVELS:
        raise OddError
    end = None if length == UNDEFINED else position + length
    while end is None or position < end:
        upper, lower, size = IMPLICIT(content, position)
        marks.append(position)
        number, position = upper << 16 | lower, position + 8
        if number == SEQUENCE_END and end is None:
            return position, position - 8
        if number != ITEM:
            raise OddError
        last = None if size == UNDEFINED else position + size
        if last is not None and last > len(content):
            raise OddError
        position = walk(content, position, last, implicit=implicit, marks=marks, level=level + 1)
    if position != end:
        raise OddError
    return position, position
