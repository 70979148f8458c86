"""Deals patients to train, validation and test, each class and each site in proportion.

Splits depend on the seed, the pseudonyms and the labels, never on the order of rows or files; no patient is in two.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from pipeline.config import Settings
from pipeline.domain.case import Case, Split
from pipeline.domain.finding import SEPARATOR, Finding, FindingKind
from pipeline.domain.manifest import Manifest
from pipeline.errors import LabelFileError

UNKNOWN_CLASS = "?"
NO_CLASS = ""
"""Of a multilabel case of which every class is absent."""

SITES = ("site", "vendor")
"""Covariates over whose values each class is spread evenly."""

EQUAL = 9
"""Decimals to which shares are compared."""

Shares = Mapping[Split, float]
Splits = dict[str, Split]
"""Patient to split."""


class SplitSettings(Settings):
    """How patients are dealt. The fractions are of patients and sum to 1."""

    train: PositiveFloat = Field(default=0.7, description="Fraction of patients to learn from.")
    validation: NonNegativeFloat = Field(default=0.15, description="Fraction to choose the epoch and thresholds on.")
    test: NonNegativeFloat = Field(default=0.15, description="Fraction to score on, once.")
    seed: NonNegativeInt = Field(default=0, description="Another seed deals other patients to each split.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train, validation and test sum to {total:g}, expected 1")
        return self

    @property
    def shares(self) -> dict[Split, float]:
        """Fraction of each split that is wanted."""
        wanted = {Split.TRAIN: self.train, Split.VALIDATION: self.validation, Split.TEST: self.test}
        return {split: share for split, share in wanted.items() if share > 0}


def assign_splits(
    cases: Sequence[Case],
    findings: Sequence[Finding],
    settings: SplitSettings,
    keep: Mapping[str, Split] | None = None,
) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """Give every case a split; return the cases in the order given, and what a reader should be warned of.

    Parameters
    ----------
    cases : sequence of Case
        A split that a case has stays; the other cases of its patient follow.
    findings : sequence of Finding
        Patients are stratified by the first one: by the rarest class that any of their cases has.
    keep : mapping of str to Split, optional
        Splits of patients that are settled, as :func:`kept_splits` of an older manifest.

    Raises
    ------
    LabelFileError
        There are fewer patients than splits, or a binary finding has a class with fewer, so that a split would lack it.
    """
    settled = _settled(cases, keep or {})
    classes = classes_of_patients(cases, findings[0] if findings else None)
    warnings: tuple[str, ...] = ()
    if len(settled) < len(classes):
        warnings = _scarce(classes, findings, settings.shares, is_new=not settled)
    splits = settled | _deal(classes, _sites(cases), settled, settings)
    dealt = (case if case.split else case.model_copy(update={"split": splits[case.patient]}) for case in cases)
    return tuple(dealt), warnings


def kept_splits(manifest: Manifest) -> Splits:
    """Split of each patient of a manifest; train, where an acknowledged leak puts one into several."""
    return _settled(manifest.cases, {})


def classes_of_patients(cases: Iterable[Case], finding: Finding | None) -> dict[str, frozenset[str]]:
    """Patient to the classes of a finding that their cases have; none where nothing is known."""
    found: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        found[case.patient] |= _classes(case, finding) if finding else set()
    return {patient: frozenset(classes) for patient, classes in found.items()}


def _classes(case: Case, finding: Finding) -> set[str]:
    label = case.labels.get(finding.name)
    if label is None:
        return set()
    if finding.kind is not FindingKind.MULTILABEL:
        return {label}
    marks = set(filter(None, label.split(SEPARATOR)))
    present = {mark for mark in marks if not mark.startswith("?")}
    return present if marks else {NO_CLASS}


def _settled(cases: Iterable[Case], keep: Mapping[str, Split]) -> Splits:
    order = list(Split)
    found: Splits = {}
    for case in cases:
        if case.split is not None:
            found[case.patient] = min(found.get(case.patient, case.split), case.split, key=order.index)
        elif case.patient in keep:
            found.setdefault(case.patient, keep[case.patient])
    return found


def _scarce(
    classes: Mapping[str, frozenset[str]], findings: Sequence[Finding], shares: Shares, *, is_new: bool
) -> tuple[str, ...]:
    """Check that every split can have every class."""
    splits = ", ".join(shares)
    remedy = "Add patients, set a fraction of `split` to 0, or give the splits yourself in labels.split_column."
    if is_new and len(classes) < len(shares):
        there = "There is 1 patient" if len(classes) == 1 else f"There are {len(classes)} patients"
        raise LabelFileError(f"{there} for {len(shares)} splits ({splits}).", remedy)
    if not findings:
        return ()
    finding = findings[0]
    counts = Counter(name for found in classes.values() for name in found)
    scarce = {name: counts[name] for name in finding.classes if counts[name] < len(shares)}
    told = ", ".join(f"{name} ({count})" for name, count in scarce.items())
    message = f"{finding.name}: too few patients to have each class in each of the splits {splits}: {told}."
    if scarce and is_new and finding.kind is FindingKind.BINARY:
        raise LabelFileError(message, remedy)
    return (message,) if scarce else ()


def _sites(cases: Iterable[Case]) -> dict[str, tuple[str, ...]]:
    """Site and vendor of each patient's first case, by name of the case."""
    ordered = sorted(cases, key=lambda case: case.case, reverse=True)
    return {case.patient: tuple(case.covariates.get(name, "") for name in SITES) for case in ordered}


def _deal(
    classes: Mapping[str, frozenset[str]],
    sites: Mapping[str, tuple[str, ...]],
    settled: Mapping[str, Split],
    settings: SplitSettings,
) -> Splits:
    """Deal the patients that are not settled, one stratum after the other, the rarest class first."""
    counts = Counter(name for found in classes.values() for name in found)
    strata: dict[str, list[str]] = defaultdict(list)
    for patient, found in classes.items():
        strata[min(found, key=lambda name: (counts[name], name), default=UNKNOWN_CLASS)].append(patient)
    dealt = dict(settled)
    for name in sorted(strata, key=lambda name: (counts[name], name)):
        present = Counter(settled[patient] for patient in strata[name] if patient in settled)
        new = [patient for patient in strata[name] if patient not in settled]
        new.sort(
            key=lambda patient: (
                *(_draw(settings.seed, site) for site in sites[patient]),
                _draw(settings.seed, patient),
            )
        )
        seats = _seats(len(new), settings.shares, present, Counter(dealt.values()))
        dealt |= dict(zip(new, _spread(seats), strict=True))
    return dealt


def _seats(new: int, shares: Shares, present: Counter[Split], overall: Counter[Split]) -> dict[Split, int]:
    """How many of `new` patients each split gets, by largest remainder; one at least, where there are enough.

    Patients that are `present` count towards the share of their split. Ties go to the split that is behind `overall`.
    """
    total, everyone = new + present.total(), new + overall.total()
    seats = dict.fromkeys(shares, 0)

    def behind(split: Split) -> tuple[float, float]:
        own = shares[split] * total - present[split] - seats[split]
        return round(own, EQUAL), round(shares[split] * everyone - overall[split] - seats[split], EQUAL)

    for _ in range(new):
        seats[max(shares, key=behind)] += 1
    for split in shares:
        richest = max(shares, key=lambda one: (present[one] + seats[one], seats[one]))
        if present[split] + seats[split] == 0 and present[richest] + seats[richest] > 1 and seats[richest]:
            seats[richest] -= 1
            seats[split] += 1
    return seats


def _spread(seats: Mapping[Split, int]) -> list[Split]:
    """Seats in a row, those of each split evenly apart, so that neighbours (a site) get their share of each."""
    total = sum(seats.values())
    given = dict.fromkeys(seats, 0)
    row = []
    for place in range(1, total + 1):
        split = max(seats, key=lambda one: round(seats[one] * place / total - given[one], EQUAL))
        given[split] += 1
        row.append(split)
    return row


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()
