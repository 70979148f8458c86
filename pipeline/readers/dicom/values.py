"""Header values that geometry and intensity rest on, read strictly: malformed is refused, never repaired."""

import math
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as PydicomSequence

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.content import PARSE_ERRORS, known_vr


def numbers(dataset: Dataset, keyword: str, count: int | None = None) -> tuple[float, ...] | None:
    """Decimal values of an attribute, or None where it is absent or empty.

    Reads the text of a DS (PS3.5 6.2) as it stands, also where it is longer than 16 characters.

    Raises
    ------
    RejectedInput
        BAD_VALUE: a comma, a word, NaN, infinity, or another number of values than `count`.
    """
    element = dataset.get_item(keyword) if keyword in dataset else None
    if element is None:
        return None
    raw = element.value
    if isinstance(raw, bytes) and (element.VR or known_vr(element.tag)) in ("DS", "IS"):
        items: Sequence[object] = raw.decode("ascii", "replace").strip("\0 ").split("\\")
    else:
        value = _converted(dataset, keyword)
        items = list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
    if all(item is None or str(item).strip() == "" for item in items):
        return None
    values = tuple(_number(keyword, item) for item in items)
    if count is not None and len(values) != count:
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} holds {len(values)} values instead of {count}")
    return values


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
    if keyword not in dataset:
        return ""
    try:
        value = dataset.get(keyword)
    except PARSE_ERRORS:
        return ""  # a decoration, not a fact that geometry rests on
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return "\\".join(str(item).strip() for item in value)
    return str(value).strip()


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """List the items of a sequence; none where it is absent or, damaged, is no sequence."""
    value = _converted(dataset, keyword)
    return list(value) if isinstance(value, PydicomSequence) else []


def item(dataset: Dataset, keyword: str) -> Dataset | None:
    """First item of a sequence, or None."""
    found = items(dataset, keyword)
    return found[0] if found else None


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
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} holds {shown[:32]!r}, which is no number") from error
    if not math.isfinite(result) or "_" in shown:
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} holds {shown[:32]!r}, which is no finite number")
    return result
