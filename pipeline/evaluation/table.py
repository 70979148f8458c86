"""The tables of an evaluation: what the model said about each case beside the truth, and which cases it lacks."""

from collections.abc import Sequence

from pipeline.domain.case import Case
from pipeline.domain.cells import csv_text
from pipeline.domain.finding import SEPARATOR, FindingKind
from pipeline.domain.rejection import Rejection
from pipeline.evaluation.samples import Answers

UNKNOWN_TRUTH = "?"
REJECTION_COLUMNS = ("case", "sha256", "series", "code", "stage", "message", "remedy")


def evaluated_table(cases: Sequence[Case], answers: Sequence[Answers]) -> str:
    """Render the CSV text, one row a case, in order.

    Columns are ``case, patient, split`` and for each finding ``F_truth`` (``?`` is not known), ``F_decision`` and one
    ``F_p_CLASS`` a class: its calibrated probability, six decimals.
    """
    columns = ["case", "patient", "split", *(column for entry in answers for column in _columns(entry))]
    rows = (
        [
            case.case,
            case.patient,
            case.split or "",
            *(cell for entry in answers for cell in _cells(entry, case, number)),
        ]
        for number, case in enumerate(cases)
    )
    return csv_text(columns, rows)


def rejection_table(rejections: Sequence[Rejection]) -> str:
    """Render rejections.csv of an evaluation; ``case`` is a pseudonym."""
    return csv_text(
        REJECTION_COLUMNS,
        ((one.path, one.sha256, one.series, one.code, one.stage, one.message, one.advice) for one in rejections),
    )


def _columns(entry: Answers) -> list[str]:
    name = entry.finding.name
    return [f"{name}_truth", f"{name}_decision", *(f"{name}_p_{label}" for label in entry.finding.classes)]


def _cells(entry: Answers, case: Case, number: int) -> list[str]:
    classes, decided = entry.finding.classes, entry.decided[number]
    if entry.finding.kind is FindingKind.MULTILABEL:
        decision = SEPARATOR.join(name for name, is_on in zip(classes, decided, strict=True) if is_on)
    else:
        decision = classes[int(decided)]
    chances = [f"{chance:.6f}" for chance in entry.probabilities[number]]
    return [case.labels.get(entry.finding.name, UNKNOWN_TRUTH), decision, *chances]
