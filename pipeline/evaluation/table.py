"""The tables of an evaluation: what the model said about each case beside the truth, and which cases it lacks."""

import csv
import io
from collections.abc import Sequence

from pipeline.domain.case import Case
from pipeline.domain.finding import FindingKind
from pipeline.domain.rejection import Rejection
from pipeline.evaluation.samples import Answers

UNKNOWN_TRUTH = "?"
REJECTION_COLUMNS = ("case", "sha256", "series", "code", "stage", "message", "remedy")
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet runs a cell that begins so; it gets a leading apostrophe."""


def evaluated_table(cases: Sequence[Case], answers: Sequence[Answers]) -> str:
    """Render the CSV text, one row a case, in order.

    Columns are ``case, patient, split`` and for each finding ``F_truth`` (``?`` is not known), ``F_decision`` and one
    ``F_p_CLASS`` a class: its calibrated probability, six decimals.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "patient", "split", *(column for entry in answers for column in _columns(entry))])
    for number, case in enumerate(cases):
        cells = [case.case, case.patient, case.split or ""]
        for entry in answers:
            cells += _cells(entry, case, number)
        writer.writerow([safe_cell(cell) for cell in cells])
    return text.getvalue()


def rejection_table(rejections: Sequence[Rejection]) -> str:
    """Render rejections.csv of an evaluation; ``case`` is a pseudonym."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(REJECTION_COLUMNS)
    for one in rejections:
        cells = (one.path, one.sha256, one.series, one.code, one.stage, one.message, one.advice)
        writer.writerow([safe_cell(cell) for cell in cells])
    return text.getvalue()


def safe_cell(text: str) -> str:
    """Escape what a spreadsheet would take for a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _columns(entry: Answers) -> list[str]:
    name = entry.finding.name
    return [f"{name}_truth", f"{name}_decision", *(f"{name}_p_{label}" for label in entry.finding.classes)]


def _cells(entry: Answers, case: Case, number: int) -> list[str]:
    classes, decided = entry.finding.classes, entry.decided[number]
    if entry.finding.kind is FindingKind.MULTILABEL:
        decision = "|".join(name for name, is_on in zip(classes, decided, strict=True) if is_on)
    else:
        decision = classes[int(decided)]
    chances = [f"{chance:.6f}" for chance in entry.probabilities[number]]
    return [case.labels.get(entry.finding.name, UNKNOWN_TRUTH), decision, *chances]
