"""Cells of the tables we write: nothing in them runs when a spreadsheet opens the file."""

import csv
import re
from collections.abc import Iterable, Sequence

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet runs a cell that begins so (the last four are the full-width forms of the first four)."""

ESCAPE = "'"

ODD_BYTES = "surrogateescape"
"""How Python holds a file name that is no UTF-8 (PEP 383): nothing of it is lost."""

_TO_SPELL = re.compile(r"\\x|[\udc80-\udcff]")
_SPELLED = re.compile(r"\\x(5C|[89A-F][0-9A-F])")


def safe_cell(text: str) -> str:
    """Escape what a spreadsheet would take for a formula, by a leading apostrophe; :func:`plain_cell` undoes it."""
    return f"{ESCAPE}{text}" if text.lstrip(ESCAPE).startswith(FORMULA_STARTS) else text


def plain_cell(text: str) -> str:
    """Text that :func:`safe_cell` was given."""
    escaped = text.startswith(ESCAPE) and text.lstrip(ESCAPE).startswith(FORMULA_STARTS)
    return text.removeprefix(ESCAPE) if escaped else text


def raw_bytes(text: str) -> bytes:
    """UTF-8, and a file name that is no UTF-8 in the bytes that it has on the disk."""
    return text.encode("utf-8", ODD_BYTES)


def spelled(text: str) -> str:
    r"""Spell the bytes of a file name that are no UTF-8 as shells and Python do: ``caf\xE9.dcm``.

    A backslash that stands before an x is spelled too (``\x5C``), so that :func:`unspelled` can tell them apart.
    """
    return _TO_SPELL.sub(lambda found: f"\\x{ord(found[0][0]) & 0xFF:02X}{found[0][1:]}", text)


def unspelled(text: str) -> str:
    """Text that :func:`spelled` was given."""
    return _SPELLED.sub(lambda found: bytes([int(found[1], 16)]).decode("utf-8", ODD_BYTES), text)


def table_bytes(text: str) -> bytes:
    """Table as it is written: UTF-8 throughout, names that are none :func:`spelled`; :func:`table_text` undoes it."""
    return spelled(text).encode("utf-8")


def table_text(content: bytes) -> str:
    """Text that :func:`table_bytes` was given; a byte-order mark that a spreadsheet has put before it is left out."""
    return unspelled(content.decode("utf-8-sig", ODD_BYTES))


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
