"""Cells of the tables we write: nothing in them runs when a spreadsheet opens the file."""

import csv
import io
from collections.abc import Iterable, Sequence

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet runs a cell that begins so (the last four are the full-width forms of the first four)."""

ESCAPE = "'"


def safe_cell(text: str) -> str:
    """Escape what a spreadsheet would take for a formula, by a leading apostrophe; :func:`plain_cell` undoes it."""
    return f"{ESCAPE}{text}" if text.lstrip(ESCAPE).startswith(FORMULA_STARTS) else text


def plain_cell(text: str) -> str:
    """Text that :func:`safe_cell` was given."""
    escaped = text.startswith(ESCAPE) and text.lstrip(ESCAPE).startswith(FORMULA_STARTS)
    return text.removeprefix(ESCAPE) if escaped else text


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Render a CSV table with escaped cells, a header line and line ends of one newline."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([safe_cell(cell) for cell in row] for row in rows)
    return text.getvalue()
