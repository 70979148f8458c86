"""How a case is laid out in one row of flat columns, and read back exactly.

Several values of one cell are joined by ``|``; a ``|`` or a backslash inside a value is written with a backslash. An
empty cell is nothing known, so a text that is known to be empty is written ``|``.
"""

import re
from collections.abc import Mapping, Sequence

from pipeline.domain.case import Case

SEPARATOR = "|"
TOKENS = re.compile(r"\\.|\||[^\\|]+", re.DOTALL)
TIMES = "x"

PLAIN = ("case", "patient", "study", "split")
SERIES = (
    "series",
    "reader",
    "stack",
    "modality",
    "shape",
    "spacing",
    "unit",
    "plane",
    "channels",
    "digest",
    "voxels",
    "likeness",
    "channel",
    "of",
)
LATER = frozenset({"likeness"})
"""Columns that tables of older versions lack."""

NOTES = "notes"
COVARIATE = "cov_"
FINDING = "finding_"


def label_column(finding: str) -> str:
    """Column of a finding's labels: its name, unless another column has it."""
    taken = finding in (*PLAIN, *SERIES, NOTES) or finding.startswith((COVARIATE, FINDING))
    return f"{FINDING}{finding}" if taken else finding


def columns(findings: Sequence[str], covariates: Sequence[str]) -> tuple[str, ...]:
    """Header line of the table."""
    labels, known = map(label_column, findings), (f"{COVARIATE}{name}" for name in covariates)
    return (*PLAIN, *labels, *known, *SERIES, NOTES)


def row_of(case: Case, findings: Sequence[str], covariates: Sequence[str]) -> list[str]:
    """Cells of a case, in the order of :func:`columns`."""
    assert set(case.labels) <= set(findings), f"{case.case} has labels of findings that the manifest does not name"
    series = [one.model_dump(mode="json") for one in case.series]
    return [
        *(case.case, case.patient, case.study, case.split.value if case.split else ""),
        *(_known(case.labels.get(name)) for name in findings),
        *(_known(case.covariates.get(name)) for name in covariates),
        *(join([_text(one[name]) for one in series]) for name in SERIES),
        _known(join(case.notes) if case.notes else None),
    ]


def case_of(row: Mapping[str, str], findings: Sequence[str], covariates: Sequence[str]) -> Case:
    """Build the case of a row again.

    Raises
    ------
    ValueError
        If a cell does not hold what its column asks for.
    """
    known = [name for name in SERIES if name in row]
    cells = [split(row[name]) for name in known]
    series = [
        {name: _numbers(name, value) for name, value in zip(known, values, strict=True)}
        for values in zip(*cells, strict=True)
    ]
    notes = _value(row[NOTES])
    fields = {
        **{name: row[name] for name in PLAIN},
        "split": row["split"] or None,
        "series": series,
        "labels": {name: text for name in findings if (text := _value(row[label_column(name)])) is not None},
        "covariates": {name: text for name in covariates if (text := _value(row[f"{COVARIATE}{name}"])) is not None},
        "notes": [] if notes is None else split(notes),
    }
    return Case.model_validate(fields)


def join(values: Sequence[str]) -> str:
    """One cell of several values, at least one."""
    return SEPARATOR.join(value.replace("\\", "\\\\").replace(SEPARATOR, f"\\{SEPARATOR}") for value in values)


def split(cell: str) -> list[str]:
    """Return what :func:`join` was given."""
    values = [""]
    for token in TOKENS.findall(cell):
        if token == SEPARATOR:
            values.append("")
        else:
            values[-1] += token.removeprefix("\\")
    return values


def _known(text: str | None) -> str:
    """Keep nothing known (None, an empty cell) apart from a text that is empty (``|``)."""
    if text is None:
        return ""
    return text if text.strip(SEPARATOR) else f"{text}{SEPARATOR}"


def _value(cell: str) -> str | None:
    if not cell:
        return None
    return cell if cell.strip(SEPARATOR) else cell[:-1]


def _text(value: object) -> str:
    if isinstance(value, list):
        return TIMES.join(map(_text, value))
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _numbers(name: str, value: str) -> str | list[str]:
    return value.split(TIMES) if name in ("shape", "spacing") else value
