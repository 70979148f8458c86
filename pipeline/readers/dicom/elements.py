"""The elements of a plain header, found in its bytes without decoding a value.

Plain is what nearly every archive holds: a preamble, file meta information, little endian, not deflated. pydicom
parses whatever is anything else or looks odd, and says what is wrong with it: this module only saves time.
"""

from collections.abc import Iterable, Iterator, MutableMapping
from functools import cache, lru_cache
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
from pipeline.readers.dicom.templates import MARK_BYTES, Layout, Templates
from pipeline.readers.reader import HeaderCutError

_NOT_PLAIN = {ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, JPIPHTJ2KReferencedDeflate}
_IS_IMPLICIT = {str(uid): uid == ImplicitVRLittleEndian for uid in AllTransferSyntaxes if uid not in _NOT_PLAIN}
Element = DataElement | RawDataElement


ABSENT = (b"", "")


class _Tags(dict[int, BaseTag]):
    """Tags by number: making one takes as long as reading an element."""

    def __missing__(self, number: int) -> BaseTag:
        self[number] = tag = BaseTag(number)
        return tag


_TAGS = _Tags()
_TEMPLATES = Templates()
CLASS, SYNTAX = _TAGS[0x00020002], _TAGS[0x00020010]
"""All that is kept of the file meta information."""

CHARACTER_SET = 0x00080005


@cache
def _number_of(name: str | int) -> int:
    """Tag as a plain integer: pydicom's tags are slow to compare."""
    return int(Tag(name))


def element_of(dataset: Dataset, name: str | int) -> Element | None:
    """Element of a keyword or tag as it stands. For an absent one, pydicom's own look-up takes longer than all else."""
    found: Element | None = dataset._dict.get(_number_of(name))  # type: ignore[call-overload]
    return found


def is_present(dataset: Dataset, keyword: str) -> bool:
    """Whether a data set has an element, also an empty one."""
    elements = dataset._dict
    return _number_of(keyword) in (elements.starts if type(elements) is PlainElements else elements)


def plain_value(dataset: Dataset, keyword: str) -> tuple[bytes, str] | None:
    """Undecoded bytes of a little endian value and their value representation, empty where the element is absent.

    None where pydicom holds the element: ask :func:`element_of`.
    """
    elements = dataset._dict
    return elements.plain(_number_of(keyword)) if type(elements) is PlainElements else None


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
    layout = _TEMPLATES.find(content)
    if layout is None:
        try:
            layout = _layout_of(content)
        except (OddError, StructError):
            layout = None
        if layout is None or layout.offset == len(content):
            if len(content) < size:
                raise HeaderCutError
            if layout is None:
                return None
    return _data_set(content, layout), layout.offset


def _layout_of(content: bytes) -> Layout | None:
    """Walk a header; None where its transfer syntax is not plain."""
    meta: dict[int, int] = {}
    starts: dict[int, int] = {}
    marks: list[int] = []
    position = walk(content, MAGIC_OFFSET + 4, None, implicit=False, marks=marks, starts=meta, group=2)
    syntax = PlainElements(content, meta, {}, implicit=False).get(SYNTAX)
    uid = syntax.value.decode("ascii", "replace").strip("\0 ") if syntax and syntax.value else ""
    if uid not in _IS_IMPLICIT or syntax.VR != "UI":
        return None
    marks += range(syntax.value_tell, syntax.value_tell + syntax.length)  # it tells how the rest is laid out
    implicit = _IS_IMPLICIT[uid]
    offset = walk(content, position, None, implicit=implicit, marks=marks, starts=starts)
    layout = Layout(meta, starts, {}, implicit, offset)
    character_set = PlainElements(content, starts, {}, implicit=implicit).plain(CHARACTER_SET)
    if character_set is not None and character_set[1] not in ("CS", ""):
        return None
    if offset + MARK_BYTES <= len(content):
        _TEMPLATES.learn(content, layout, marks)
    return layout


class PlainElements(MutableMapping[BaseTag, Element]):
    """Elements of a data set by tag, each made when it is first asked for: few of the hundreds in a file are.

    Attributes
    ----------
    starts : dict of int to int
        Where in the bytes each element begins. Others may share it: a change is made to a copy.
    """

    __slots__ = ("_content", "_implicit", "_made", "_values", "starts")

    def __init__(
        self, content: bytes, starts: dict[int, int], values: dict[int, tuple[str, int, int]], *, implicit: bool
    ) -> None:
        self._content, self._implicit, self.starts, self._values = content, implicit, starts, values
        self._made: dict[int, Element] = {}

    def get(self, tag: BaseTag, default: Any = None) -> Any:
        """Return the element, or the default; without the detour of an exception."""
        found = self._made.get(tag)
        if found is None:
            if tag not in self.starts:
                return default
            found = self._made[tag] = self._make(tag)
        return found

    def plain(self, number: int) -> tuple[bytes, str] | None:
        """Return value and value representation, empty of an absent element; None of one that was made before."""
        if number in self._made:
            return None
        if number not in self.starts:
            return ABSENT
        vr, begin, end = self._values.get(number) or self._place(number)
        return self._content[begin:end], vr

    def __getitem__(self, tag: BaseTag) -> Element:
        found: Element | None = self.get(tag)
        if found is None:
            raise KeyError(tag)
        return found

    def __setitem__(self, tag: BaseTag, element: Element) -> None:
        if tag not in self.starts:
            self.starts = self.starts | {int(tag): -1}
        self._made[tag] = element

    def __delitem__(self, tag: BaseTag) -> None:
        if tag not in self.starts:
            raise KeyError(tag)
        self.starts = {number: start for number, start in self.starts.items() if number != tag}
        self._made.pop(tag, None)

    def __contains__(self, tag: object) -> bool:
        return tag in self.starts

    def __iter__(self) -> Iterator[BaseTag]:
        return map(_TAGS.__getitem__, self.starts)

    def __len__(self) -> int:
        return len(self.starts)

    def _place(self, number: int) -> tuple[str, int, int]:
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
            _, end = walk_sequence(content, position, length, implicit=self._implicit, marks=[], level=0)
        found = self._values[number] = vr, position, end
        return found

    def _make(self, number: int) -> RawDataElement:
        kind, begin, end = self._values.get(number) or self._place(number)
        vr = kind if kind == "SQ" or not self._implicit else None
        value = self._content[begin:end] if end > begin else _empty(vr or "")
        return RawDataElement(_TAGS[number], vr, end - begin, value, begin, self._implicit, True)


def _data_set(content: bytes, layout: Layout) -> Dataset:
    whole = Dataset(PlainElements(content, layout.starts, layout.values, implicit=layout.implicit))
    whole.set_original_encoding(layout.implicit, True)
    meta = PlainElements(content, layout.meta, {}, implicit=False)
    whole.file_meta = _meta(*((tag, meta[tag].value) for tag in (CLASS, SYNTAX) if tag in meta))
    return whole


@lru_cache(maxsize=64)
def _meta(*elements: tuple[BaseTag, bytes]) -> FileMetaDataset:
    """File meta information; few files of an archive have one of their own, and making one takes long."""
    made: MutableMapping[BaseTag, Element] = {
        tag: RawDataElement(tag, "UI", len(raw or b""), raw, 0, False, True) for tag, raw in elements
    }
    return FileMetaDataset(made)


@cache
def _empty(vr: str) -> bytes | None:
    return cast(bytes | None, empty_value_for_VR(vr or None, raw=True))
