"""Classes that a part of the cohort lacks, told before anything is trained rather than where they are missed."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.data.sampling import weights_by
from pipeline.domain.case import UNKNOWN, Case
from pipeline.domain.encoding import encode_labels, label_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.errors import TrainingError
from pipeline.training.losses import check_learnable

AUROC_ASKED = "training.monitor: auroc"
"""The setting by which AUROC alone may choose the best epoch."""


def check_classes(
    findings: Sequence[Finding],
    training: Sequence[Case],
    validation: Sequence[Case],
    *,
    balance: str = "",
    auroc_for: str = "",
) -> None:
    """Refuse cases from which what was asked for cannot be had.

    Parameters
    ----------
    balance : str
        Finding whose classes training is to visit equally often; empty: none.
    auroc_for : str
        Setting that asks for AUROC on validation; empty: none does.

    Raises
    ------
    TrainingError
        Naming finding and class.
    """
    check_learnable(findings, encode_labels(training, findings))
    if balance:
        weights_by(balance, training, findings)
    if auroc_for:
        check_auroc(findings, encode_labels(validation, findings), auroc_for)


def check_auroc(findings: Sequence[Finding], labels: NDArray[np.int64], asked_by: str) -> None:
    """Refuse validation labels, shape (n, columns), on which AUROC of a finding is not defined.

    Raises
    ------
    TrainingError
        Naming finding and classes.
    """
    for finding, columns in zip(findings, label_slices(findings), strict=True):
        if lacking := ", ".join(absent(finding, labels[:, columns])):
            raise TrainingError(
                f"{asked_by} asks for AUROC, and no validation case of {finding.name} is {lacking}.",
                f"Set {asked_by.split(': ')[0]}: loss, or give validation cases of each class.",
            )


def absent(finding: Finding, labels: NDArray[np.int64]) -> Iterator[str]:
    """Yield the classes for whose want a finding has no AUROC; nothing where one of them can be told from the rest."""
    if finding.kind is FindingKind.MULTILABEL:
        if not any(len(np.unique(column[column != UNKNOWN])) == 2 for column in labels.T):
            yield "known both to have and to lack any class"
        return
    present = set(labels[labels != UNKNOWN].tolist())
    if len(present) < 2:
        yield from (name for number, name in enumerate(finding.classes) if number not in present)
