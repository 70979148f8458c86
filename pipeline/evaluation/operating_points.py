"""Decisions: how a threshold is chosen on validation, and how it decides.

A case is decided positive when its probability reaches the threshold (``>=``). Candidate thresholds lie midway between
neighbouring distinct probabilities, so that none stands on a case and rounding cannot turn one over; besides, 0 (all
positive) and a value above every probability (none positive). Where several candidates satisfy a rule equally:

- ``youden`` (sensitivity + specificity - 1, Youden 1950): the lowest, which misses fewest;
- ``sensitivity`` at least x: the highest that satisfies it, which has the best specificity;
- ``specificity`` at least x: the lowest that satisfies it, which has the best sensitivity.

Findings with more than two classes need no threshold: the most probable class is decided (the first of equals), and of
a multilabel finding each class with probability 0.5 or more.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from pipeline.config import Settings
from pipeline.domain.case import UNKNOWN
from pipeline.domain.finding import SEPARATOR, Finding, FindingKind
from pipeline.domain.score import OperatingPoint

UNCHOSEN = 0.5
"""Threshold where none was chosen: multilabel classes, and binary findings without an operating point."""


class OperatingRule(Settings):
    """How the decision threshold of a binary finding is chosen on the validation split."""

    rule: Literal["youden", "sensitivity", "specificity"] = Field(
        default="youden",
        description="youden: best sensitivity + specificity. sensitivity, specificity: at least `at_least`, and the "
        "best of the other.",
    )
    at_least: float | None = Field(
        default=None, gt=0, le=1, description="Required sensitivity or specificity on validation; null for youden."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.rule == "youden") != (self.at_least is None):
            wanted = "youden takes no at_least" if self.rule == "youden" else f"{self.rule} needs at_least, e.g. 0.9"
            raise ValueError(wanted)
        return self

    @property
    def text(self) -> str:
        """As it stands in the operating point: ``youden`` or ``sensitivity>=0.9``."""
        return self.rule if self.at_least is None else f"{self.rule}>={self.at_least:g}"


def choose(
    finding: Finding, probabilities: NDArray[np.floating], labels: NDArray[np.integer], rule: OperatingRule
) -> OperatingPoint | None:
    """Choose the operating point of a finding.

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
        Calibrated, on validation.
    labels : ndarray of int, shape (n,) or (n, 1)
        1 is positive, -1 unknown.

    Returns
    -------
    OperatingPoint or None
        None for a finding that is not binary. Where validation has only one class the threshold is 0.5 and the rule
        says so.
    """
    if finding.kind is not FindingKind.BINARY:
        return None
    truth = np.asarray(labels).reshape(-1)
    known = truth != UNKNOWN
    scores, positive = np.asarray(probabilities, dtype=np.float64)[known, 1], truth[known] == 1
    if positive.all() or not positive.any():
        rule_text = f"0.5 ({rule.text} needs positive and negative cases on validation)"
        return OperatingPoint(finding=finding.name, threshold=UNCHOSEN, rule=rule_text)
    thresholds = candidates(scores)
    called = scores[np.newaxis, :] >= thresholds[:, np.newaxis]
    sensitivity, specificity = called[:, positive].mean(axis=1), (~called[:, ~positive]).mean(axis=1)
    best = _best(rule, sensitivity, specificity)
    return OperatingPoint(
        finding=finding.name,
        threshold=float(thresholds[best]),
        rule=rule.text,
        sensitivity=float(sensitivity[best]),
        specificity=float(specificity[best]),
    )


def candidates(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rising thresholds that tell the scores apart; see the module."""
    distinct = np.unique(scores)
    middles = (distinct[:-1] + distinct[1:]) / 2.0
    # between neighbouring floats the middle may round down onto the lower one
    middles = np.where(middles > distinct[:-1], middles, distinct[1:])
    above = (distinct[-1] + 1.0) / 2.0 if distinct[-1] < 1.0 else 1.0
    return np.concatenate([[0.0], middles, [max(above, np.nextafter(distinct[-1], 2.0))]])


def _best(rule: OperatingRule, sensitivity: NDArray[np.float64], specificity: NDArray[np.float64]) -> int:
    """Index of the chosen candidate; sensitivity falls and specificity rises with it."""
    match rule.rule:
        case "youden":
            index = sensitivity + specificity
            return int(np.flatnonzero(index >= index.max() - 1e-12)[0])
        case "sensitivity":
            return int(np.flatnonzero(sensitivity >= _least(rule))[-1])
        case "specificity":
            return int(np.flatnonzero(specificity >= _least(rule))[0])


def _least(rule: OperatingRule) -> float:
    assert rule.at_least is not None
    return rule.at_least - 1e-12


def decide(finding: Finding, probabilities: NDArray[np.floating], point: OperatingPoint | None) -> list[str]:
    """Decided class of each case, from probabilities (n, classes); multilabel: classes joined by ``|``.

    Parameters
    ----------
    point : OperatingPoint or None
        Of a binary finding; without one its threshold is 0.5.
    """
    decided = decided_indices(finding, probabilities, point)
    if finding.kind is FindingKind.MULTILABEL:
        return [
            SEPARATOR.join(name for name, is_on in zip(finding.classes, row, strict=True) if is_on) for row in decided
        ]
    return [finding.classes[index] for index in decided]


def decided_indices(
    finding: Finding, probabilities: NDArray[np.floating], point: OperatingPoint | None
) -> NDArray[np.int64]:
    """Decided class index, shape (n,); multilabel: 0 or 1 a class, shape (n, classes). See :func:`decide`."""
    if finding.kind is FindingKind.BINARY:
        return (probabilities[:, 1] >= (UNCHOSEN if point is None else point.threshold)).astype(np.int64)
    if finding.kind is FindingKind.MULTILABEL:
        return (probabilities >= UNCHOSEN).astype(np.int64)
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def ppv_at(
    prevalence: float, sensitivity: NDArray[np.float64], specificity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """PPV where a share `prevalence` is positive, by Bayes; NaN if nothing would be decided positive."""
    right, wrong = sensitivity * prevalence, (1.0 - specificity) * (1.0 - prevalence)
    return _share(right, wrong)


def npv_at(
    prevalence: float, sensitivity: NDArray[np.float64], specificity: NDArray[np.float64]
) -> NDArray[np.float64]:
    """NPV where a share `prevalence` is positive, by Bayes; NaN if nothing would be decided negative."""
    right, wrong = specificity * (1.0 - prevalence), (1.0 - sensitivity) * prevalence
    return _share(right, wrong)


def _share(right: NDArray[np.float64], wrong: NDArray[np.float64]) -> NDArray[np.float64]:
    total = right + wrong
    return np.divide(right, total, out=np.full_like(total, np.nan), where=total > 0)
