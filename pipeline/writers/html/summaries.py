"""What was said of a finding over the whole batch: decisions, and where the probabilities lie."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.domain.finding import SEPARATOR, Finding, FindingKind
from pipeline.domain.prediction import FindingPrediction, Prediction
from pipeline.writers.html.embedding import is_doubted, shown_answers

BINS = 20
"""Bars of a histogram, of equal width over 0 to 1."""

NONE = "none"
"""Shown for a multilabel finding of which no class was decided."""

SHOWN_CHANCE = {
    FindingKind.BINARY: "probability of {positive}",
    FindingKind.MULTICLASS: "probability of the decided class",
    FindingKind.MULTILABEL: "highest probability of a class",
    FindingKind.ORDINAL: "probability of the decided class",
}
"""The one probability of a finding that has a column, a histogram and a filter."""


@dataclass(frozen=True, slots=True)
class Decided:
    """One class with the cases it was decided for; of a multilabel finding a case counts in each of its classes."""

    label: str
    cases: int
    share: float


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram: its bounds, how many cases lie in it, and its height of 0 to 1."""

    low: float
    high: float
    cases: int
    height: float


@dataclass(frozen=True, slots=True)
class Summary:
    """One finding over the batch.

    Attributes
    ----------
    answered, withheld : int
        Cases with and without an answer.
    doubted : int
        Those of the answered that are out of scope.
    thresholds : tuple of float
        Operating points in use, which is one of one model.
    """

    finding: Finding
    chance: str
    decided: tuple[Decided, ...]
    bars: tuple[Bar, ...]
    thresholds: tuple[float, ...]
    answered: int
    withheld: int
    doubted: int


def summarise(finding: Finding, predictions: Sequence[Prediction]) -> Summary:
    """Count decisions, in the order of the classes, and sort the shown probability into :data:`BINS` bars."""
    found = [shown_answers(one).get(finding.name) for one in predictions]
    answers = [one for one in found if one is not None]
    counts = Counter(min(int(shown_chance(finding, one) * BINS), BINS - 1) for one in answers)
    tallest = max(counts.values(), default=1)
    bars = [Bar(at / BINS, (at + 1) / BINS, counts[at], counts[at] / tallest) for at in range(BINS)]
    return Summary(
        finding=finding,
        chance=SHOWN_CHANCE[finding.kind].format(positive=finding.positive),
        decided=tuple(_decided(finding, answers)),
        bars=tuple(bars),
        thresholds=tuple(sorted({one.threshold for one in answers if one.threshold is not None})),
        answered=len(answers),
        withheld=len(found) - len(answers),
        doubted=sum(is_doubted(one) and finding.name in shown_answers(one) for one in predictions),
    )


def shown_chance(finding: Finding, answer: FindingPrediction) -> float:
    """See :data:`SHOWN_CHANCE`."""
    match finding.kind:
        case FindingKind.BINARY:
            return answer.probabilities[finding.positive]
        case FindingKind.MULTILABEL:
            return max(answer.probabilities.values())
        case _:
            return answer.probabilities[answer.decision]


def _decided(finding: Finding, answers: Sequence[FindingPrediction]) -> list[Decided]:
    several = finding.kind is FindingKind.MULTILABEL
    said = [answer.decision.split(SEPARATOR) if several else [answer.decision] for answer in answers]
    counts = Counter(label for labels in said for label in labels)
    names = [*finding.classes, ""] if several else list(finding.classes)
    return [Decided(name or NONE, counts[name], counts[name] / max(len(answers), 1)) for name in names]
