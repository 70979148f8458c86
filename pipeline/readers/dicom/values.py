"""Header values that geometry and intensity rest on, read strictly: malformed is refused, never repaired."""

import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as PydicomSequence
from pydicom.uid import UID

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.content import PARSE_ERRORS
from pipeline.readers.dicom.elements import element_of, numbers_of_tags, plain_value
from pipeline.readers.dicom.layout import known_vr

PLAIN_VRS = frozenset(["AS", "CS", "DA", "DT", "LO", "SH", "TM", "UI", "DS", "IS"])
"""Value representations whose text is that of their bytes, several values parted by a backslash (PS3.5 6.2)."""

PLAIN_NUMBER = {
    "DS": re.compile(r"[+-]?\d{1,18}(\.\d*)?([eE][+-]?\d\d?)?", re.ASCII),
    "IS": re.compile(r"\d{1,18}", re.ASCII),
}
"""Decimal strings in which nothing is odd: what is matched is finite and reads the same everywhere."""

NUMERIC = re.compile(r"[-+0-9.,eE_ ]*|[-+]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)

REMEMBERED_BYTES = 128
"""Longest value of which the reading is remembered: the files of a series share most."""

ESCAPE = b"\x1b"
"""Begins a switch of the character set (PS3.5 6.1.2.5.3)."""


def numbers(dataset: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """Decimal values of an attribute, or None where it is absent or empty.

    Reads the text of a DS (PS3.5 6.2) as it stands, also where it is longer than 16 characters.

    Raises
    ------
    RejectedInput
        BAD_VALUE: a comma, a word, NaN, infinity, or another number of values than `count`.
    """
    plain = plain_value(dataset, keyword)
    if plain is not None and not plain[0]:
        return None
    values = _plain_numbers(*plain) if plain is not None and len(plain[0]) <= REMEMBERED_BYTES else None
    if values is None:
        items = _items_of(dataset, keyword)
        if all(item is None or str(item).strip() == "" for item in items):
            return None
        values = tuple(_number(keyword, item) for item in items)
    if count is not None and len(values) != count:
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} holds {len(values)} values instead of {count}")
    return values


def _items_of(dataset: Dataset, keyword: str) -> Sequence[object]:
    element = element_of(dataset, keyword)
    if element is None:
        return ()
    raw, vr = element.value, element.VR or known_vr(element.tag)
    if isinstance(raw, bytes) and vr in ("DS", "IS"):
        return raw.decode("ascii", "replace").strip("\0 ").split("\\")
    value = _converted(dataset, keyword)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]


def number(dataset: Dataset, keyword: str) -> float | None:
    """One decimal value, or None; see :func:`numbers`."""
    values = numbers(dataset, keyword, 1)
    return None if values is None else values[0]


def integer(dataset: Dataset, keyword: str) -> int | None:
    """One integer, or None; see :func:`numbers`."""
    value = number(dataset, keyword)
    if value is None:
        return None
    if value != int(value):
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} is {value:g} instead of an integer")
    return int(value)


def text(dataset: Dataset, keyword: str) -> str:
    """Text of an attribute, stripped; several values joined by a backslash; empty where absent or unreadable."""
    plain = plain_value(dataset, keyword)
    if plain is not None:
        raw, vr = plain
        if not raw:
            return ""
        if len(raw) <= REMEMBERED_BYTES and (found := _plain_text(raw, vr)) is not None:
            return found
    else:
        element = element_of(dataset, keyword)
        if element is None:
            return ""
        if isinstance(element, DataElement) and isinstance(element.value, str):
            return str(element.value).strip()
    try:
        value = dataset.get(keyword)
    except PARSE_ERRORS:
        return ""  # a decoration, not a fact that geometry rests on
    if value is None or isinstance(value, PydicomSequence):
        return ""  # a sequence would be printed with all that it holds
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "\\".join(str(item).strip() for item in value)
    return str(value).strip()


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """List the items of a sequence; none where it is absent or, damaged, is no sequence."""
    if element_of(dataset, keyword) is None:
        return []
    value = _converted(dataset, keyword)
    return list(value) if isinstance(value, PydicomSequence) else []


def item(dataset: Dataset, keyword: str) -> Dataset | None:
    """First item of a sequence, or None."""
    found = items(dataset, keyword)
    return found[0] if found else None


def private_value(dataset: Dataset, elements: Iterable[tuple[str, int, int]]) -> object:
    """Value of the first private element (PS3.5 7.8.1) that is present and can be read, or None.

    Parameters
    ----------
    elements : iterable of (str, int, int)
        Creator, group, and the last byte of the element.
    """
    blocks = [tag for tag in numbers_of_tags(dataset) if tag & 0x1FF00 == 0x10000]
    for creator, group, element in elements if blocks else ():
        for tag in blocks:
            if tag >> 16 == group and _creator(dataset, tag) == creator:
                found = element_of(dataset, group << 16 | (tag & 0xFF) << 8 | element)
                if isinstance(found, RawDataElement) and found.VR in ("DS", "IS"):
                    return found.value
                try:
                    return dataset[group, (tag & 0xFF) << 8 | element].value
                except PARSE_ERRORS:
                    continue
    return None


def _creator(dataset: Dataset, tag: int) -> str:
    element = dataset.get_item(tag)
    value = None if element is None else element.value
    return value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else str(value or "").strip()


def syntax_of(dataset: Dataset) -> UID:
    """Transfer syntax of a data set; empty where it does not say."""
    return _uid(text(dataset.file_meta, "TransferSyntaxUID"))


@lru_cache
def _uid(value: str) -> UID:
    return UID(value)


@lru_cache(maxsize=8192)
def _plain_text(raw: bytes, vr: str) -> str | None:
    """Text of a value that needs no character set and no dictionary, or None: pydicom shall read it."""
    if vr == "US":
        return str(int.from_bytes(raw, "little")) if len(raw) == 2 else None
    if vr not in PLAIN_VRS or not raw.isascii() or ESCAPE in raw:
        return None
    whole = raw.decode("ascii").rstrip("\0 ")
    if "\0" in whole:
        return None
    parts = [part.strip() for part in whole.split("\\")]
    if vr in ("DS", "IS") and not all(PLAIN_NUMBER[vr].fullmatch(part) for part in parts):
        return None
    return "\\".join(parts)


@lru_cache(maxsize=8192)
def _plain_numbers(raw: bytes, vr: str) -> tuple[float, ...] | None:
    """Numbers of a value in which nothing is odd, or None."""
    if vr not in ("DS", "IS", "US"):
        return None
    shown = _plain_text(raw, vr)
    return tuple(float(part) for part in shown.split("\\")) if shown else None


def _converted(dataset: Dataset, keyword: str) -> object:
    try:
        return dataset.get(keyword)
    except PARSE_ERRORS as error:
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} is malformed") from error


def _number(keyword: str, value: object) -> float:
    shown = str(value).strip()
    try:
        result = float(shown)
    except ValueError as error:
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} holds {_told(shown)}, which is no number") from error
    if not math.isfinite(result) or "_" in shown:
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} holds {_told(shown)}, which is no finite number")
    return result


def shown(value: str, terms: frozenset[str]) -> str:
    """Return a value where the standard defines it: any other may be any text, a name too."""
    return value if value in terms else "no defined term" if value else "missing"


def _told(value: str) -> str:
    """Show a value that has no more than digits and signs; of any other, which may be a name, only the length."""
    return repr(value) if len(value) <= 16 and NUMERIC.fullmatch(value) else f"{len(value)} characters"
