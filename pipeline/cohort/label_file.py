"""The label file as text: nothing is converted, and every cell knows its line and column.

CSV and TSV are told apart from XLSX by content. The policy for text: a byte-order mark decides (UTF-8, UTF-16);
else it is UTF-8; else, where it is not valid UTF-8, Windows-1252, with a note. ``labels.encoding`` overrules.
"""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.cohort.label_settings import LabelSettings
from pipeline.cohort.label_workbook import ZIP_MAGIC, read_workbook
from pipeline.errors import LabelFileError

OLE_MAGIC = b"\xd0\xcf\x11\xe0"
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
DELIMITERS = (";", ",", "\t")
DELIMITED = "Check the delimiter and the quotation marks there."
RIGHT = "Cells stand to the right of its last column: name every column in the header, or remove a title above it."
SHOWN = 10
"""Places that a message names at most."""


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One row.

    Attributes
    ----------
    line : int
        Line of the text file where it starts, or row of the sheet; the header stands on line 1.
    cells : mapping of str to str
        Column to text, as the file holds it.
    rounded : frozenset of str
        XLSX: columns whose number has more digits than a spreadsheet keeps, or is no whole number.
    """

    line: int
    cells: Mapping[str, str]
    rounded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The whole file. ``notes`` say how it was read."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[LabelRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """Cells before the header has given them names; ``rounded`` by position."""

    line: int
    cells: tuple[str, ...]
    rounded: frozenset[int] = frozenset()


def load_labels(settings: LabelSettings) -> LabelTable:
    """Read the label file.

    Raises
    ------
    LabelFileError
        It cannot be read, is empty, names two columns alike, or has rows of another width than its header.
    """
    assert settings.file is not None
    name = settings.file.name
    try:
        content = settings.file.read_bytes()
    except OSError as error:
        raise LabelFileError(f"The label file {settings.file} cannot be read: {error.strerror}.") from error
    if content.startswith(OLE_MAGIC):
        raise LabelFileError(
            f"{name} is an old XLS file or protected by a password.", "Save it as XLSX without password, or as CSV."
        )
    if content.startswith(ZIP_MAGIC):
        return _table(
            name, [LabelRecord(*record) for record in read_workbook(name, content, settings.sheet)], (), RIGHT
        )
    text, notes = _decoded(name, content, settings.encoding)
    return _table(name, list(_records(name, text, settings.delimiter)), notes)


def places(lines: Sequence[int]) -> str:
    """``line 4``, ``lines 4, 7 and 9``, at most :data:`SHOWN` of them."""
    shown = ", ".join(map(str, lines[:SHOWN]))
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {shown}{more}"


def _decoded(name: str, content: bytes, encoding: str) -> tuple[str, list[str]]:
    marked = next((codec for mark, codec in BYTE_ORDER_MARKS if content.startswith(mark)), "")
    chosen = encoding or marked or "utf-8"
    try:
        text = content.decode(chosen)
    except LookupError as error:
        raise LabelFileError(f"labels.encoding: there is no encoding {encoding!r}.", "Try utf-8 or cp1252.") from error
    except UnicodeDecodeError as error:
        if encoding or marked:
            raise LabelFileError(
                f"{name} is not valid {chosen}.", "Save it as UTF-8, or set labels.encoding."
            ) from error
        return _as_windows(name, content)
    if "\0" in text:
        raise LabelFileError(
            f"{name} holds NUL characters: it is no text, or UTF-16 without a byte-order mark.",
            "Save it as UTF-8, or set labels.encoding: utf-16-le.",
        )
    return text.removeprefix("\ufeff"), []


def _as_windows(name: str, content: bytes) -> tuple[str, list[str]]:
    try:
        return content.decode("cp1252"), [f"{name} is not valid UTF-8 and was read as Windows-1252 (labels.encoding)."]
    except UnicodeDecodeError as error:
        raise LabelFileError(
            f"{name} is neither UTF-8 nor Windows-1252.", "Save it as UTF-8, or set labels.encoding."
        ) from error


def _records(name: str, text: str, delimiter: str) -> Iterator[LabelRecord]:
    skipped = 0
    first, _, rest = text.partition("\n")
    if first.strip().lower().startswith("sep=") and len(first.strip()) == 5:  # Excel's own directive
        text, delimiter, skipped = rest, delimiter or first.strip()[4], 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or _delimiter(name, text), strict=True)
    line = 1
    try:
        for cells in reader:
            yield LabelRecord(line + skipped, tuple(cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise LabelFileError(
            f"{name}, line {line + skipped}: {error}.", "Check the quotation marks of that line."
        ) from error


def _delimiter(name: str, text: str) -> str:
    """Whichever gives the header the most columns; a file of one column has none."""
    widths = {}
    for candidate in DELIMITERS:
        try:
            header = next(csv.reader(io.StringIO(text, newline=""), delimiter=candidate), [])
        except csv.Error as error:
            raise LabelFileError(f"{name}, line 1: {error}.", "Check the quotation marks of that line.") from error
        widths[candidate] = len(header)
    best = max(widths.values())
    winners = [candidate for candidate, width in widths.items() if width == best]
    if best > 1 and len(winners) > 1:
        raise LabelFileError(
            f"{name}: the header could be separated by {' or '.join(map(repr, winners))}.", "Set labels.delimiter."
        )
    return winners[0] if best > 1 else ","


def _table(name: str, records: Sequence[LabelRecord], notes: Sequence[str], remedy: str = DELIMITED) -> LabelTable:
    filled = [record for record in records if any(cell.strip() for cell in record.cells)]
    if not filled:
        raise LabelFileError(f"{name} is empty.", "Give a table with a header line and one row a scan.")
    header, *rows = filled
    columns = [cell.strip() for cell in header.cells]
    while columns and not columns[-1]:
        columns.pop()
    _check_header(name, columns)
    ragged = [row.line for row in rows if len(row.cells) < len(columns) or any(row.cells[len(columns) :])]
    if ragged and len(columns) == 1 and ragged[0] == rows[0].line:
        raise LabelFileError(
            f"{name}: line {header.line}, the first that holds something, names one column, and lines below it hold "
            "more cells: it seems to be a title above the header.",
            "Remove what stands above the header, so that the first line names the columns.",
        )
    if ragged:
        raise LabelFileError(
            f"{name}: {places(ragged)} do{'es' if len(ragged) == 1 else ''} not have the {len(columns)} cells of the "
            f"header (line {header.line}).",
            remedy,
        )
    if not rows:
        raise LabelFileError(f"{name} has a header and no rows.", "Give one row a scan.")
    return LabelTable(name, tuple(columns), tuple(_named(row, columns) for row in rows), tuple(notes))


def _check_header(name: str, columns: Sequence[str]) -> None:
    twice = [column for column, count in Counter(columns).items() if count > 1 and column]
    if twice:
        raise LabelFileError(
            f"{name}: columns stand twice: {', '.join(twice)}.", "Give every column a name of its own."
        )
    if "" in columns:
        raise LabelFileError(
            f"{name}: column {columns.index('') + 1} has no name.", "Name every column in the first line."
        )


def _named(row: LabelRecord, columns: Sequence[str]) -> LabelRow:
    return LabelRow(
        row.line,
        dict(zip(columns, row.cells[: len(columns)], strict=True)),
        frozenset(columns[i] for i in row.rounded if i < len(columns)),
    )
