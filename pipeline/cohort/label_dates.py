"""Days in label files and headers."""

from datetime import date, datetime

from pipeline.cohort.label_file import LabelTable, places
from pipeline.errors import LabelFileError

UNMISTAKABLE = ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")
"""Formats that can be read in one way only; with slashes, day and month could change places."""


def row_days(table: LabelTable, column: str, form: str) -> tuple[date | None, ...]:
    """Day of each row, None where the cell is blank or there is no column.

    Raises
    ------
    LabelFileError
        Cells that are no date, naming their lines.
    """
    if not column:
        return (None,) * len(table.rows)
    days, strange = [], []
    for row in table.rows:
        text = row.cells[column].strip()
        day = _day(text, (form,) if form else UNMISTAKABLE)
        days.append(day)
        if text and day is None:
            strange.append(row.line)
    if strange:
        raise LabelFileError(
            f"{table.name}, column {column}, {places(strange)}: not a date in the form {form or '2024-03-01'}.",
            "Set labels.date_format, such as '%d/%m/%Y'.",
        )
    return tuple(days)


def study_day(text: str) -> date | None:
    """Day of a StudyDate (0008,0020), None where it is missing or malformed."""
    return _day(text, ("%Y%m%d",))


def _day(text: str, forms: tuple[str, ...]) -> date | None:
    for form in forms:
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    return None
