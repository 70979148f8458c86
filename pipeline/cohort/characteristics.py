"""Who and what the splits hold, side by side: the table that a paper has first."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipeline.cohort.tally import UNKNOWN_CLASS, classes_of, patients, splits_of
from pipeline.domain.case import POOLED_AGE, Case, CaseSeries
from pipeline.domain.manifest import Manifest

COUNTED = ("sex", "vendor", "model", "site")
SHOWN_VALUES = 8
"""Values of a covariate that have a row of their own; the rest share one."""

ALL = "all"


class Row(NamedTuple):
    """One line: what it says, and its cell in each column."""

    name: str
    value: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Characteristics:
    """A table; the first column is of all cases where there is more than one split."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def characteristics(manifest: Manifest) -> Characteristics:
    """Describe all cases and each split; shares are of the cases of the column, and what is not known has its row."""
    splits = splits_of(manifest)
    columns = splits if len(splits) == 1 else {ALL: manifest.cases, **splits}
    groups = list(columns.values())
    rows = [
        Row("cases", "", tuple(str(len(cases)) for cases in groups)),
        Row("patients", "", tuple(str(patients(cases)) for cases in groups)),
        *_age(groups),
    ]
    for covariate in COUNTED:
        rows += _counted(covariate, groups)
    rows += _scans(groups)
    for finding in manifest.findings:
        told = [classes_of(cases, finding) for cases in groups]
        for name in dict.fromkeys(name for counts in told for name in counts):
            rows.append(Row(finding.name, name, _shares([counts.get(name, 0) for counts in told], groups)))
    return Characteristics(tuple(columns), tuple(rows))


def _age(groups: Sequence[Sequence[Case]]) -> Iterator[Row]:
    ages = [[_number(case.covariates.get("age", "")) for case in cases] for cases in groups]
    known = [[age for age in found if age is not None] for found in ages]
    if not any(known):
        return
    yield Row("age, years", "median (quartiles)", tuple(map(_quartiles, known)))
    if any(age >= POOLED_AGE for found in known for age in found):
        pooled = [sum(age >= POOLED_AGE for age in found) for found in known]
        yield Row("age, years", f"{POOLED_AGE} and over, pooled", _shares(pooled, groups))
    missing = [len(found) - len(some) for found, some in zip(ages, known, strict=True)]
    if any(missing):
        yield Row("age, years", UNKNOWN_CLASS, _shares(missing, groups))


def _counted(covariate: str, groups: Sequence[Sequence[Case]]) -> list[Row]:
    told = [Counter(case.covariates.get(covariate, UNKNOWN_CLASS) for case in cases) for cases in groups]
    order = [value for value, _ in told[0].most_common() if value != UNKNOWN_CLASS]
    if not order:
        return []
    shown, rest = order[:SHOWN_VALUES], set(order[SHOWN_VALUES:])
    rows = [(value, [counts[value] for counts in told]) for value in shown]
    if rest:
        rows.append((f"{len(rest)} others", [sum(counts[value] for value in rest) for counts in told]))
    if any(counts[UNKNOWN_CLASS] for counts in told):
        rows.append((UNKNOWN_CLASS, [counts[UNKNOWN_CLASS] for counts in told]))
    return [Row(covariate, value, _shares(counts, groups)) for value, counts in rows]


def _scans(groups: Sequence[Sequence[Case]]) -> Iterator[Row]:
    """Sizes of the first series of each case; lengths in pixels and in millimetres stand apart."""
    series = [[case.series[0] for case in cases] for cases in groups]
    is_flat = all(one.shape[2] == 1 for found in series for one in found)
    for unit in sorted({one.unit for found in series for one in found}):
        alike = [[one for one in found if one.unit == unit] for found in series]
        yield _size(f"pixel spacing, {unit}", alike, lambda one: max(one.spacing[:2]))
        if not is_flat:
            yield _size(f"slice distance, {unit}", alike, lambda one: one.spacing[2])
    yield _size("rows", series, lambda one: float(one.shape[1]))
    yield _size("columns", series, lambda one: float(one.shape[0]))
    if not is_flat:
        yield _size("slices", series, lambda one: float(one.shape[2]))


def _size(name: str, groups: Sequence[Sequence[CaseSeries]], measure: Callable[[CaseSeries], float]) -> Row:
    return Row(name, "median (range)", tuple(_range([measure(one) for one in found]) for found in groups))


def _quartiles(values: Sequence[float]) -> str:
    if not values:
        return "-"
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.0f} ({low:.0f} to {high:.0f})"


def _range(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{float(np.median(values)):.4g} ({min(values):.4g} to {max(values):.4g})"


def _shares(counts: Sequence[int], groups: Sequence[Sequence[Case]]) -> tuple[str, ...]:
    return tuple(f"{count} ({100 * count / len(cases):.0f}%)" for count, cases in zip(counts, groups, strict=True))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
