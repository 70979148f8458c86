"""The elements of a plain header, found in its bytes without decoding a value.

Plain is what nearly every archive holds: a preamble, file meta information, little endian, not deflated. pydicom
parses whatever is anything else or looks odd, and says what is wrong with it: this module only saves time.
"""

from collections.abc import Iterable, Iterator, MutableMapping
from functools import cache, partial
from struct import error as StructError
from typing import Any, cast

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

from pipeline.readers.dicom.layout import (
    EXPLICIT,
    IMPLICIT,
    MAGIC_OFFSET,
    SHORT,
    OddError,
    long_element,
    walk,
    walk_sequence,
)
from pipeline.readers.reader import HeaderCutError

_NOT_PLAIN = {ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, JPIPHTJ2KReferencedDeflate}
_IS_IMPLICIT = {str(uid): uid == ImplicitVRLittleEndian for uid in AllTransferSyntaxes if uid not in _NOT_PLAIN}
Element = DataElement | RawDataElement


_raw = partial(tuple.__new__, RawDataElement)
"""Makes an element of its nine fields; its constructor takes twice as long."""


class _Tags(dict[int, BaseTag]):
    """Tags by number: making one takes as long as reading an element."""

    def __missing__(self, number: int) -> BaseTag:
        self[number] = tag = BaseTag(number)
        return tag


_TAGS = _Tags()
CLASS, SYNTAX = _TAGS[0x00020002], _TAGS[0x00020010]
"""All that is kept of the file meta information."""


@cache
def _number_of(name: str | int) -> int:
    """Tag as a plain integer: pydicom's tags are slow to compare."""
    return int(Tag(name))


def element_of(dataset: Dataset, name: str | int) -> Element | None:
    """Element of a keyword or tag as it stands. For an absent one, pydicom's own look-up takes longer than all else."""
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
        position = walk(content, MAGIC_OFFSET + 4, None, implicit=False, starts=meta.starts, group=2)
        syntax = _text(meta.get(SYNTAX))
        if syntax not in _IS_IMPLICIT:
            return None
        implicit = _IS_IMPLICIT[syntax]
        elements = PlainElements(content, implicit=implicit)
        offset = walk(content, position, None, implicit=implicit, starts=elements.starts)
        if offset == len(content) < size:
            raise HeaderCutError
    except (OddError, StructError):
        if len(content) < size:
            raise HeaderCutError from None
        return None
    return _data_set(meta, elements, implicit=implicit), offset


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
            _, _, length = IMPLICIT(content, position - 8)
        else:
            _, _, code, length = EXPLICIT(content, position - 8)
        vr = SHORT.get(code)
        if vr is None:
            vr, position, length = long_element(content, position, length, code, number)
        end = position + length
        if vr == "SQ":
            _, end = walk_sequence(content, position, length, implicit=self._implicit, level=0)
        elif self._implicit:
            vr = ""
        value = content[position:end] if end > position else _empty(vr)
        return _raw((_TAGS[number], vr or None, end - position, value, position, self._implicit, True, True, False))


def _data_set(meta: PlainElements, elements: PlainElements, *, implicit: bool) -> Dataset:
    whole = Dataset(elements)
    whole.set_original_encoding(implicit, True)
    whole.file_meta = FileMetaDataset({tag: meta[tag] for tag in (CLASS, SYNTAX) if tag in meta})
    return whole


def _text(element: DataElement | RawDataElement | None) -> str:
    return element.value.decode("ascii", "replace").strip("\0 ") if element and element.value else ""


@cache
def _empty(vr: str) -> bytes | None:
    return cast(bytes | None, empty_value_for_VR(vr or None, raw=True))
