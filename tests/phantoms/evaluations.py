"""Made-up cases with logits that know something of the truth."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import Case, CaseSeries, Split
from pipeline.domain.encoding import class_probabilities
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.geometry import Plane, Unit

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
ORGAN = Finding(name="organ", kind=FindingKind.MULTICLASS, classes=("liver", "kidney", "spleen"))
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("edema", "nodule"))
GRADE = Finding(name="grade", kind=FindingKind.ORDINAL, classes=("none", "mild", "severe"))
FINDINGS = (LESION, ORGAN, SIGNS, GRADE)


def series(name: str) -> CaseSeries:
    return CaseSeries(
        series=f"S{name}",
        reader="dicom",
        modality="CT",
        shape=(8, 8, 8),
        spacing=(1.0, 1.0, 1.0),
        unit=Unit.MM,
        plane=next(iter(Plane)),
        channels=1,
        digest=f"{name:0>64}",
    )


def cohort(
    findings: Sequence[Finding] = FINDINGS, *, count: int = 160, per_patient: int = 2, seed: int = 0, gain: float = 1.5
) -> tuple[tuple[Case, ...], NDArray[np.float32]]:
    """Cases of a test split and logits whose probabilities the truth was drawn from, times `gain`."""
    random = np.random.default_rng(seed)
    labels: list[dict[str, str]] = [{} for _ in range(count)]
    columns = []
    for finding in findings:
        logits = 2.0 * random.normal(size=(count, finding.outputs))
        if finding.kind is FindingKind.ORDINAL:
            logits = -np.sort(-logits, axis=1)
        chances = class_probabilities(finding, logits)
        columns.append(gain * logits)
        for row, chance in zip(labels, chances, strict=True):
            row[finding.name] = drawn_label(finding, chance, random)
    cases = tuple(
        Case(
            case=f"C{number:04d}",
            patient=f"P{number // per_patient:04d}",
            study=f"T{number:04d}",
            series=(series(str(number)),),
            labels=labels[number],
            covariates={"vendor": ("A", "B")[number // per_patient % 2], "age": str(10 + number % 80)},
            split=Split.TEST,
        )
        for number in range(count)
    )
    return cases, np.concatenate(columns, axis=1).astype(np.float32)


def drawn_label(finding: Finding, chance: NDArray[np.float64], random: np.random.Generator) -> str:
    if finding.kind is FindingKind.MULTILABEL:
        return "|".join(np.array(finding.classes)[random.uniform(size=len(chance)) < chance])
    return str(random.choice(finding.classes, p=chance))
