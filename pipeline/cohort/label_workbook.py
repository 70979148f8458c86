"""XLSX: the cells of a sheet as text, with a mark where the file holds a number that may be rounded."""

import io
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from pipeline.errors import LabelFileError

ZIP_MAGIC = b"PK\x03\x04"

LARGEST_INFLATED_BYTES = 512 * 1024**2
"""A workbook that inflates to more is refused unread."""

KEPT_DIGITS = 15
"""Decimal digits of a number that a spreadsheet keeps; the rest becomes zero (IEEE 754 doubles below 2**53)."""

Record = tuple[int, tuple[str, ...], frozenset[int]]
"""Line, cells, positions of numbers that may have been rounded."""


def read_workbook(name: str, content: bytes, sheet: str) -> list[Record]:
    """Rows of the one sheet that holds something, or of `sheet`.

    Raises
    ------
    LabelFileError
        No workbook, several sheets and none named, a formula that was never calculated.
    """
    values, formulas = _open(name, content, values=True), _open(name, content, values=False)
    title = sheet or _only_sheet(name, values)
    if title not in values.sheetnames:
        raise LabelFileError(f"{name} has no sheet {title!r}; it has {', '.join(values.sheetnames)}.")
    rows = []
    pairs = zip(values[title].iter_rows(), formulas[title].iter_rows(), strict=True)
    for line, (shown, made) in enumerate(pairs, start=1):
        for position, (cell, source) in enumerate(zip(shown, made, strict=True), start=1):
            if cell.value is None and source.value is not None:
                raise LabelFileError(
                    f"{name}, row {line}, column {position}: a formula whose value was never calculated.",
                    "Open the file in a spreadsheet and save it, or paste the values.",
                )
        rows.append(_record(line, [cell.value for cell in shown]))
    return _as_wide_as_the_header(rows)


def _as_wide_as_the_header(rows: list[Record]) -> list[Record]:
    """Blank cells at the end of a row may be left out of the file."""
    width = next((len(cells) for _, cells, _ in rows if any(cell.strip() for cell in cells)), 0)
    return [(line, cells + ("",) * (width - len(cells)), rounded) for line, cells, rounded in rows]


def _open(name: str, content: bytes, *, values: bool) -> Any:
    from openpyxl import load_workbook

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > LARGEST_INFLATED_BYTES:
            raise LabelFileError(f"{name} inflates to {size} bytes, which no label file needs.", "Save it as CSV.")
        workbook = load_workbook(io.BytesIO(content), read_only=True, data_only=values)
        for sheet in workbook.worksheets:
            sheet.reset_dimensions()  # exporters state a smaller range than they fill: what lies outside would be lost
        return workbook
    except LabelFileError:
        raise
    except Exception as error:  # the library lets through what zip, XML and its own parser raise
        raise LabelFileError(
            f"{name} is no readable XLSX workbook ({type(error).__name__}).", "Save it again as XLSX or CSV."
        ) from error


def _only_sheet(name: str, workbook: Any) -> str:
    filled = [sheet.title for sheet in workbook.worksheets if _has_content(sheet.iter_rows(values_only=True))]
    if not filled:
        raise LabelFileError(f"{name} is empty.", "Give a table with a header line and one row a scan.")
    if len(filled) > 1:
        raise LabelFileError(f"{name} has several sheets: {', '.join(filled)}.", "Choose one with labels.sheet.")
    return str(filled[0])


def _has_content(rows: Iterator[tuple[Any, ...]]) -> bool:
    return any(value is not None and str(value).strip() for row in rows for value in row)


def _record(line: int, values: list[Any]) -> Record:
    rounded = frozenset(i for i, value in enumerate(values) if _may_be_rounded(value))
    return line, tuple(_text(value) for value in values), rounded


def _may_be_rounded(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or len(str(abs(value))) > KEPT_DIGITS


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ")
    return value.isoformat() if isinstance(value, date | time) else str(value)
