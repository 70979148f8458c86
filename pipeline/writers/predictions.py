"""What the writers of predictions share: their protocol, and the columns of a row."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from pipeline.domain.finding import Finding
from pipeline.domain.prediction import FindingPrediction, Prediction

LEADING = ("case", "patient", "study", "series")
TRAILING = ("scope", "scope_reasons", "model", "digest", "notes")

NOTE_SEPARATOR = "; "

Cell = str | float | None
"""Decisions and names are text, probabilities and thresholds numbers; None is an empty cell: a finding without a
threshold, or whatever is withheld because the scan is out of scope."""


class PredictionWriter(Protocol):
    """Predictions of one model in one format."""

    suffix: str
    """Ending of its files, with the dot."""

    def write(self, path: Path, predictions: Sequence[Prediction], findings: Sequence[Finding]) -> None:
        """Replace `path` in one step; equal predictions, in whatever order, give equal bytes.

        Parameters
        ----------
        predictions : sequence of Prediction
            Written in the order of their cases.
        findings : sequence of Finding
            Of the model: they make the columns, also where there is no prediction.
        """


def ordered(predictions: Sequence[Prediction]) -> list[Prediction]:
    """In the order of the cases' pseudonyms, which is no one's order of arrival."""
    return sorted(predictions, key=lambda prediction: prediction.case)


def columns(findings: Sequence[Finding]) -> list[str]:
    """``case, patient, study, series``, each finding's own, then :data:`TRAILING`."""
    own = [column for finding in findings for column in finding.columns]
    return [*LEADING, *own, *TRAILING]


def rows(predictions: Sequence[Prediction], findings: Sequence[Finding]) -> Iterator[list[Cell]]:
    """Cells under :func:`columns`, a row a prediction, in the order of the cases."""
    for one in ordered(predictions):
        cells: list[Cell] = [one.case, one.patient, one.study, one.series]
        said = {answer.finding: answer for answer in one.findings}
        for finding in findings:
            cells += _answer(finding, said.get(finding.name))
        reasons, notes = NOTE_SEPARATOR.join(one.scope_reasons), NOTE_SEPARATOR.join(one.notes)
        yield [*cells, one.scope.value, reasons, one.model, one.digest, notes]


def _answer(finding: Finding, answer: FindingPrediction | None) -> list[Cell]:
    if answer is None:
        return [None] * len(finding.columns)
    return [answer.decision, *(answer.probabilities[label] for label in finding.classes), answer.threshold]
