"""Counts over a manifest: cases by split and class, patients by split, values of covariates. No identifiers."""

from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.domain.case import Case, Split
from pipeline.domain.finding import SEPARATOR, Finding, FindingKind
from pipeline.domain.manifest import Manifest

UNKNOWN_CLASS = "not known"
UNSPLIT = "all"
SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)

Table = dict[str, dict[str, int]]
"""Split to value to number of cases."""


def splits_of(manifest: Manifest) -> dict[str, tuple[Case, ...]]:
    """Cases of each split that has some, in the order of the experiment; ``all`` where there is no split."""
    found = {str(split): manifest.of(split) for split in SPLITS}
    unsplit = tuple(case for case in manifest.cases if case.split is None)
    return {name: cases for name, cases in (found | {UNSPLIT: unsplit}).items() if cases}


def patients(cases: Iterable[Case]) -> int:
    """How many patients the cases are of."""
    return len({case.patient for case in cases})


def by_class(manifest: Manifest, finding: Finding) -> Table:
    """Cases of each split and class; multilabel: a case counts in each class that it has."""
    return {split: classes_of(cases, finding) for split, cases in splits_of(manifest).items()}


def classes_of(cases: Sequence[Case], finding: Finding) -> dict[str, int]:
    """Cases of each class, and those whose label is not known."""
    counts = Counter(name for case in cases for name in _present(case, finding))
    unknown = {UNKNOWN_CLASS: counts[UNKNOWN_CLASS]} if counts[UNKNOWN_CLASS] else {}
    return {name: counts[name] for name in finding.classes} | unknown


def by_shape(manifest: Manifest) -> list[tuple[str, str, str, str, int]]:
    """Modality, plane, spacing, slices and number of series, most frequent first."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for case in manifest.cases:
        for one in case.series:
            spacing = " x ".join(f"{value:.3g}" for value in one.spacing)
            counts[one.modality, str(one.plane), f"{spacing} {one.unit}", str(one.shape[2])] += 1
    return [(*kind, count) for kind, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def _present(case: Case, finding: Finding) -> list[str]:
    label = case.labels.get(finding.name)
    if label is None:
        return [UNKNOWN_CLASS]
    return [label] if finding.kind is not FindingKind.MULTILABEL else list(filter(None, label.split(SEPARATOR)))
