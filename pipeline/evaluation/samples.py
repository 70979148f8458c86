"""From logits and cases to the samples that metrics judge."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import UNKNOWN, Case
from pipeline.domain.encoding import class_probabilities, encode_labels, label_slices, output_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.score import Calibration, OperatingPoint
from pipeline.evaluation.operating_points import decided_indices
from pipeline.evaluation.sample import Sample


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said about one finding, for every case, beside the truth.

    Attributes
    ----------
    probabilities : ndarray of float, shape (n, classes)
        Calibrated.
    decided : ndarray of int
        Class index, shape (n,); multilabel: 0 or 1 a class, shape (n, classes).
    truth : ndarray of int, shape (n, columns)
        As :func:`pipeline.domain.encoding.encode_labels`; -1 is unknown.
    patients : ndarray of int, shape (n,)
    point : OperatingPoint or None
    """

    finding: Finding
    probabilities: NDArray[np.float64]
    decided: NDArray[np.int64]
    truth: NDArray[np.int64]
    patients: NDArray[np.int64]
    point: OperatingPoint | None

    @property
    def known(self) -> NDArray[np.bool_]:
        """Cases of which any truth is known, shape (n,)."""
        return np.asarray((self.truth != UNKNOWN).any(axis=1))

    def whole(self) -> Sample | None:
        """Sample over all classes; None for a multilabel finding, which has no single answer."""
        if self.finding.kind is FindingKind.MULTILABEL:
            return None
        kept = self.known
        return Sample(
            self.finding.kind,
            self.truth[kept, 0],
            self.probabilities[kept],
            self.decided[kept],
            self.patients[kept],
        )

    def of_class(self, index: int) -> Sample:
        """Binary sample of one class against the others."""
        whole = self.whole()
        if whole is not None:
            return whole.one_vs_rest(index)
        kept = self.truth[:, index] != UNKNOWN
        own = self.probabilities[kept, index]
        return Sample(
            FindingKind.BINARY,
            self.truth[kept, index],
            np.stack([1.0 - own, own], axis=1),
            self.decided[kept, index],
            self.patients[kept],
        )

    def binary_samples(self) -> dict[str, Sample]:
        """One binary sample a class; of a binary finding only the positive one."""
        if self.finding.kind is FindingKind.BINARY:
            whole = self.whole()
            assert whole is not None
            return {self.finding.positive: whole}
        return {name: self.of_class(index) for index, name in enumerate(self.finding.classes)}

    def where(self, kept: NDArray[np.bool_]) -> "Answers":
        """Part of the cases."""
        return Answers(
            self.finding,
            self.probabilities[kept],
            self.decided[kept],
            self.truth[kept],
            self.patients[kept],
            self.point,
        )


def answers_of(
    findings: Sequence[Finding],
    cases: Sequence[Case],
    logits: NDArray[np.floating],
    calibration: Sequence[Calibration],
    operating_points: Sequence[OperatingPoint],
    patients: NDArray[np.int64],
) -> tuple[Answers, ...]:
    """Calibrate and decide logits (n, outputs), one entry a finding; a finding without calibration has temperature 1.

    Parameters
    ----------
    patients : ndarray of int, shape (n,)
        Number of each case's patient.
    """
    assert len(cases) == len(logits) == len(patients), (len(cases), len(logits), len(patients))
    temperatures = {entry.finding: entry.temperature for entry in calibration}
    points = {point.finding: point for point in operating_points}
    labels = encode_labels(cases, findings)
    found = []
    for finding, outputs, columns in zip(findings, output_slices(findings), label_slices(findings), strict=True):
        chances = class_probabilities(finding, logits[:, outputs], temperatures.get(finding.name, 1.0))
        point = points.get(finding.name) if finding.kind is FindingKind.BINARY else None
        decided = decided_indices(finding, chances, point)
        found.append(Answers(finding, chances, decided, labels[:, columns], patients, point))
    return tuple(found)
