"""What is known of a case beside its pixels: from the headers, overruled by columns of the label file.

Only values of a known form are taken over from headers, so that nothing personal slips into a manifest. The name of a
hospital becomes a pseudonym; a column that is mapped to ``site`` stands as it is.
"""

import re
from collections.abc import Callable, Mapping

from pipeline.cohort.label_columns import LabelColumns
from pipeline.cohort.label_file import LabelRow, LabelTable, places
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.case import POOLED_AGE
from pipeline.domain.terms import known_view, plain_make
from pipeline.errors import LabelFileError

FORMS: dict[str, Callable[[str], str]] = {
    "vendor": plain_make,
    "model": plain_make,
    "sex": lambda text: text if text in ("F", "M", "O") else "",
    "age": lambda text: pooled(text),
    "laterality": lambda text: text if text in ("L", "R", "B", "U") else "",
    "view": known_view,
}
"""Attribute of a series to what may be shown of its value; empty: nothing."""


def covariates_of(
    candidate: CaseCandidate, site_name: Callable[[str], str], row: LabelRow | None, columns: LabelColumns | None
) -> dict[str, str]:
    """Gather the covariates of a case, in name order.

    Parameters
    ----------
    site_name : callable
        Pseudonym of an institution's name.
    """
    found = {name: "|".join(_from_headers(candidate, name)) for name in FORMS}
    if site := " ".join(candidate.chosen[0].attributes.get("site", "").split()):
        found["site"] = site_name(site)
    if row is not None and columns is not None:
        found |= mapped(row, columns.covariates)
    return {name: value for name, value in sorted(found.items()) if value}


def left_out(candidate: CaseCandidate) -> tuple[str, ...]:
    """Note which header values are kept out of the manifest, because they have another form than they should."""
    return tuple(
        f"the header's {name} is no usual value and is left out" for name in FORMS if not all(_shown(candidate, name))
    )


def burned_in(candidate: CaseCandidate) -> tuple[str, ...]:
    """Note why a name may be part of a picture."""
    return tuple(
        f"text about the patient may be burned into the pixels: {reason}"
        for series in candidate.chosen
        if (reason := series.attributes.get("burned_in"))
    )


def mapped(row: LabelRow, columns: Mapping[str, str]) -> dict[str, str]:
    """Covariates of one row; a blank leaves what the header says."""
    values = {name: row.cells[column].strip() for name, column in columns.items()}
    return {name: pooled(value) if name == "age" else value for name, value in values.items() if value}


def check_ages(table: LabelTable, columns: LabelColumns) -> None:
    """Refuse a mapped age that is no number.

    Raises
    ------
    LabelFileError
        Naming the lines.
    """
    column = columns.covariates.get("age", "")
    cells = [(row.line, row.cells[column].strip()) for row in table.rows] if column else []
    if strange := [line for line, text in cells if text and not _is_age(text)]:
        raise LabelFileError(
            f"{table.name}, column {column}, {places(strange)}: not an age in years.", "Correct it, or leave it blank."
        )


def pooled(age: str) -> str:
    """Whole years as text; :data:`POOLED_AGE` stands for all from there on."""
    return str(min(int(float(age)), POOLED_AGE)) if _is_age(age) else ""


def _is_age(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?", text) is not None


def _from_headers(candidate: CaseCandidate, name: str) -> list[str]:
    """Value that all series share; of several, all of them."""
    return sorted(set(_shown(candidate, name)) - {""})


def _shown(candidate: CaseCandidate, name: str) -> list[str]:
    """Take the value of each series that has one; an empty string where it has another form."""
    values = (series.attributes.get(name, "").strip() for series in candidate.chosen)
    return [FORMS[name](value) for value in values if value]


def site_namer(case_name: Callable[[str], str], remember: Callable[[str], None]) -> Callable[[str], str]:
    """Make pseudonyms of institutions out of those of cases; the map keeps the way back."""

    def name(site: str) -> str:
        remember(f"site:{site}")
        return f"site-{case_name(f'site:{site}')[1:9]}"

    return name
