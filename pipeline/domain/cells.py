"""Cells of the tables we write: nothing in them runs when a spreadsheet opens the file."""

import csv
from collections.abc import Iterable, Sequence

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet runs a cell that begins so (the last four are the full-width forms of the first four)."""

ESCAPE = "'"

ODD_BYTES = "surrogateescape"
"""How Python holds a file name that is no UTF-8 (PEP 383): nothing of it is lost."""


def safe_cell(text: str) -> str:
    """Escape what a spreadsheet would take for a formula, by a leading apostrophe; :func:`plain_cell` undoes it."""
    return f"{ESCAPE}{text}" if text.lstrip(ESCAPE).startswith(FORMULA_STARTS) else text


def plain_cell(text: str) -> str:
    """Text that :func:`safe_cell` was given."""
    escaped = text.startswith(ESCAPE) and text.lstrip(ESCAPE).startswith(FORMULA_STARTS)
    return text.removeprefix(ESCAPE) if escaped else text


def table_bytes(text: str) -> bytes:
    """Table as it is written: UTF-8, and a file name that is no UTF-8 in the bytes that it has on the disk."""
    return text.encode("utf-8", ODD_BYTES)


def table_text(content: bytes) -> str:
    """Text that :func:`table_bytes` was given; a byte-order mark that a spreadsheet has put before it is left out."""
    return content.decode("utf-8-sig", ODD_BYTES)


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Render a CSV table with escaped cells, a header line and line ends of one newline."""
    lines = _Lines()
    writer = csv.writer(lines, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
    return "".join(lines.lines)


class _Lines:
    """Ends lines by one newline. A csv.writer that is told to do so forgets to quote a carriage return in a cell."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line.removesuffix("\r\n") + "\n")
