"""Measured quality: every number with its interval and what it was computed on."""

from pipeline.domain.case import Split
from pipeline.domain.frozen import Frozen


class Score(Frozen):
    """A value with its confidence interval.

    Attributes
    ----------
    value, low, high : float or None
        None where the metric is not defined (one class only, say), with the reason in ``note``.
    method : str
        How the interval was made, e.g. ``percentile bootstrap, 2000 resamples of patients``.
    cases, patients : int
        What it was computed on.
    """

    metric: str
    value: float | None
    low: float | None
    high: float | None
    level: float = 0.95
    method: str
    cases: int
    patients: int
    note: str = ""


class OperatingPoint(Frozen):
    """A decision threshold, chosen on validation and frozen in the package."""

    finding: str
    threshold: float
    rule: str
    chosen_on: Split = Split.VALIDATION
    sensitivity: float | None = None
    specificity: float | None = None


class Calibration(Frozen):
    """Temperature scaling (Guo et al. 2017): logits are divided by it. 1 changes nothing."""

    finding: str
    temperature: float
    fitted_on: Split = Split.VALIDATION
    brier_before: float | None = None
    brier_after: float | None = None


class FindingReport(Frozen):
    """Scores of one finding; ``per_class`` for multiclass, multilabel and ordinal findings."""

    finding: str
    scores: tuple[Score, ...]
    per_class: dict[str, tuple[Score, ...]] = {}
    confusion: tuple[tuple[int, ...], ...] = ()
    classes: tuple[str, ...] = ()
    operating_point: OperatingPoint | None = None
    prevalence: float | None = None
    warnings: tuple[str, ...] = ()


class Report(Frozen):
    """An evaluation: one model on one split of one manifest."""

    model: str
    manifest: str
    split: Split
    external: bool = False
    cases: int
    patients: int
    acknowledged_leaks: int = 0
    findings: tuple[FindingReport, ...]
    calibration: tuple[Calibration, ...] = ()
    warnings: tuple[str, ...] = ()
