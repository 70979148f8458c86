"""The elements of a plain header, found in its bytes without decoding a value.

Plain is what nearly every archive holds: a preamble, file meta information, little endian, not deflated. pydicom
parses whatever is anything else or looks odd, and says what is wrong with it: this module only saves time.
"""

from collections.abc import Iterable, Iterator, MutableMapping
from functools import cache, partial
from struct import Struct
from struct import error as StructError
from typing import Any, cast

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPIPHTJ2KReferencedDeflate,
)

from pipeline.readers.reader import HeaderCutError

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

_NOT_PLAIN = {ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, JPIPHTJ2KReferencedDeflate}
_IS_IMPLICIT = {str(uid): uid == ImplicitVRLittleEndian for uid in AllTransferSyntaxes if uid not in _NOT_PLAIN}
_SHORT = {vr: vr.decode() for vr in SHORT_VRS}
_LONG = {vr: vr.decode() for vr in LONG_VRS}
_EXPLICIT, _IMPLICIT, _LENGTH = Struct("<HH2sH").unpack_from, Struct("<HHL").unpack_from, Struct("<L").unpack_from

Element = DataElement | RawDataElement


_raw = partial(tuple.__new__, RawDataElement)
"""Makes an element of its nine fields; its constructor takes twice as long."""


class _OddError(Exception):
    """Not plain: pydicom shall look at it."""


class _Tags(dict[int, BaseTag]):
    """Tags by number: making one takes as long as reading an element."""

    def __missing__(self, number: int) -> BaseTag:
        self[number] = tag = BaseTag(number)
        return tag


_TAGS = _Tags()


@cache
def _number_of(name: str | int) -> int:
    """Tag as a plain integer: pydicom's tags are slow to compare."""
    return int(Tag(name))


def element_of(dataset: Dataset, name: str | int) -> Element | None:
    """Element of a keyword or tag as it stands. pydicom's own look-up takes longer than all else that is done for an absent element."""
    found: Element | None = dataset._dict.get(_number_of(name))  # type: ignore[call-overload]
    return found


def numbers_of_tags(dataset: Dataset) -> Iterable[int]:
    """Tags of all elements as plain integers, in no order."""
    elements = dataset._dict
    return elements.starts if isinstance(elements, PlainElements) else list(elements)


def plain_header(content: bytes, size: int) -> tuple[Dataset, int] | None:
    """Find the data set before the pixel data, and where these begin; None where the file is not plain.

    Parameters
    ----------
    content : bytes
        The file, or its beginning.
    size : int
        Bytes of the file.

    Raises
    ------
    HeaderCutError
        `content` is a beginning, and the header is longer.
    """
    if content[MAGIC_OFFSET : MAGIC_OFFSET + 4] != b"DICM":
        return None
    meta = PlainElements(content, implicit=False)
    try:
        position = _walk(content, MAGIC_OFFSET + 4, None, implicit=False, starts=meta.starts, group=2)
        syntax = _text(meta.get(_TAGS[0x00020010]))
        if syntax not in _IS_IMPLICIT:
            return None
        implicit = _IS_IMPLICIT[syntax]
        elements = PlainElements(content, implicit=implicit)
        offset = _walk(content, position, None, implicit=implicit, starts=elements.starts)
    except (_OddError, StructError):
        if len(content) < size:
            raise HeaderCutError from None
        return None
    return _data_set(meta, elements, implicit=implicit), offset


@cache
def known_vr(tag: int) -> str:
    """Value representation that the dictionary gives an element of an implicit data set."""
    return dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"


class PlainElements(MutableMapping[BaseTag, Element]):
    """Elements of a data set by tag, each made when it is first asked for: few of the hundreds in a file are.

    Attributes
    ----------
    starts : dict of int to int
        Where in the bytes each element begins.
    """

    __slots__ = ("_content", "_implicit", "_made", "starts")

    def __init__(self, content: bytes, *, implicit: bool) -> None:
        self._content, self._implicit = content, implicit
        self._made: dict[int, Element] = {}
        self.starts: dict[int, int] = {}

    def get(self, tag: BaseTag, default: Any = None) -> Any:
        """Return the element, or the default; without the detour of an exception."""
        found = self._made.get(tag)
        if found is None:
            if tag not in self.starts:
                return default
            found = self._made[tag] = self._make(tag)
        return found

    def __getitem__(self, tag: BaseTag) -> Element:
        found: Element | None = self.get(tag)
        if found is None:
            raise KeyError(tag)
        return found

    def __setitem__(self, tag: BaseTag, element: Element) -> None:
        self.starts.setdefault(tag, -1)
        self._made[tag] = element

    def __delitem__(self, tag: BaseTag) -> None:
        del self.starts[tag]
        self._made.pop(tag, None)

    def __contains__(self, tag: object) -> bool:
        return tag in self.starts

    def __iter__(self) -> Iterator[BaseTag]:
        return map(_TAGS.__getitem__, self.starts)

    def __len__(self) -> int:
        return len(self.starts)

    def _make(self, number: int) -> RawDataElement:
        content, position, code = self._content, self.starts[number] + 8, b""
        if self._implicit:
            _, _, length = _IMPLICIT(content, position - 8)
        else:
            _, _, code, length = _EXPLICIT(content, position - 8)
        vr = _SHORT.get(code)
        if vr is None:
            vr, position, length = _long(content, position, length, code, number)
        end = position + length
        if vr == "SQ":
            _, end = _sequence(content, position, length, implicit=self._implicit, level=0)
        elif self._implicit:
            vr = ""
        value = content[position:end] if end > position else _empty(vr)
        return _raw((_TAGS[number], vr or None, end - position, value, position, self._implicit, True, True, False))


def _data_set(meta: PlainElements, elements: PlainElements, *, implicit: bool) -> Dataset:
    whole = Dataset(elements)
    whole.set_original_encoding(implicit, True)
    whole.file_meta = FileMetaDataset(dict(meta))
    return whole


def _text(element: DataElement | RawDataElement | None) -> str:
    return element.value.decode("ascii", "replace").strip("\0 ") if element and element.value else ""


@cache
def _empty(vr: str) -> bytes | None:
    return cast(bytes | None, empty_value_for_VR(vr or None, raw=True))


def _walk(
    content: bytes,
    position: int,
    end: int | None,
    *,
    implicit: bool,
    starts: dict[int, int] | None = None,
    group: int = 0,
    level: int = 0,
) -> int:
    """Walk the elements of a data set; return where it ends, which is at `end` where that is known.

    Of the file itself (level 0) it ends before the pixel data, with the bytes, or before an element of another `group`
    than the one that is asked for. An item of undefined length ends behind its delimiter. What reaches beyond the
    bytes shows when the next element is unpacked, or at the end.
    """
    limit = len(content)
    while position != end:
        start, code = position, b""
        if implicit:
            upper, lower, length = _IMPLICIT(content, position)
        else:
            upper, lower, code, length = _EXPLICIT(content, position)
        number = upper << 16 | lower
        position += 8
        if upper >= PIXEL_GROUP or group:
            if level == 0 and (number in PIXEL_TAGS or (group and upper != group)):
                return start
            if number == ITEM_END and end is None and level:
                return position
            if upper == ITEM_GROUP:
                raise _OddError
        kind = _SHORT.get(code)
        if kind is None:
            kind, position, length = _long(content, position, length, code, number)
        if kind == "SQ":
            position, _ = _sequence(content, position, length, implicit=implicit, level=level)
        elif length == UNDEFINED:
            raise _OddError
        else:
            position += length
        if starts is not None:
            starts[number] = start
            if position == limit:
                return position
    return position


def _long(content: bytes, position: int, length: int, code: bytes, number: int) -> tuple[str, int, int]:
    """Kind of an element that has a long length, or no `code` (implicit); where its value begins; its length."""
    if code:
        if code not in _LONG:
            raise _OddError
        return _LONG[code], position + 4, _LENGTH(content, position)[0]
    kind = known_vr(number)
    if kind == "UN" and length == UNDEFINED and content[position : position + 4] == ITEM_BYTES:
        kind = "SQ"  # of a vendor
    return kind, position, length


def _sequence(content: bytes, position: int, length: int, *, implicit: bool, level: int) -> tuple[int, int]:
    """Walk the items of a sequence (PS3.5 7.5); return where the next element begins, and where the last item ends."""
    if level >= MOST_LEVELS:
        raise _OddError
    end = None if length == UNDEFINED else position + length
    while end is None or position < end:
        upper, lower, size = _IMPLICIT(content, position)
        number, position = upper << 16 | lower, position + 8
        if number == SEQUENCE_END and end is None:
            return position, position - 8
        if number != ITEM:
            raise _OddError
        last = None if size == UNDEFINED else position + size
        if last is not None and last > len(content):
            raise _OddError
        position = _walk(content, position, last, implicit=implicit, level=level + 1)
    if position != end:
        raise _OddError
    return position, position
