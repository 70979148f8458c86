"""Measured quality: every number with its interval and what it was computed on."""

from typing import Literal

from pipeline.domain.case import Split
from pipeline.domain.frozen import Frozen

TELLING = 0.6
"""A covariate is warned of where the whole interval of the AUROC by which it alone tells a finding lies above."""


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
    """Temperature scaling (Guo et al. 2017): logits are divided by it. 1 changes nothing.

    Attributes
    ----------
    brier_before, brier_after : float or None
        On the cases it was fitted on; see :mod:`pipeline.evaluation.metrics.brier`.
    note : str
        Why nothing was fitted, or what to keep in mind.
    """

    finding: str
    temperature: float
    fitted_on: Split = Split.VALIDATION
    brier_before: float | None = None
    brier_after: float | None = None
    note: str = ""


class ReliabilityBin(Frozen):
    """Cases whose probability lies in [lower, upper) (the last bin holds 1 too).

    Attributes
    ----------
    predicted, observed : float or None
        Mean probability and observed frequency; None in an empty bin.
    low, high : float or None
        Wilson interval (95%) of the observed frequency, cases taken as independent.
    """

    lower: float
    upper: float
    cases: int
    predicted: float | None
    observed: float | None
    low: float | None
    high: float | None


class Reliability(Frozen):
    """How probabilities agree with frequencies, in bins of equal width.

    Attributes
    ----------
    of : str
        Whose probability: the positive class (binary), the most probable class (multiclass, ordinal) or all classes
        together (multilabel).
    expected_calibration_error : float or None
        Mean over cases of ``|predicted - observed|`` of their bin (Guo et al. 2017); it depends on the bins.
    """

    of: str
    bins: tuple[ReliabilityBin, ...]
    expected_calibration_error: float | None


class Subgroup(Frozen):
    """One score of the cases that share a covariate's value."""

    covariate: str
    value: str
    score: Score


class Shortcut(Frozen):
    """How well a covariate alone, without the image, tells a finding.

    Attributes
    ----------
    question : str
        The class that is told from the others; of a binary finding the positive one.
    """

    finding: str
    question: str
    covariate: str
    score: Score


class FindingReport(Frozen):
    """Scores of one finding; ``per_class`` for multiclass, multilabel and ordinal findings.

    Attributes
    ----------
    confusion : tuple of tuple of int
        Rows are the truth, columns the decision, in the order of ``classes``; empty for multilabel findings.
    counts : dict of str to int
        Class to number of cases that have it.
    unknown : int
        Cases left out because their truth is not known (multilabel: of no class).
    prevalence : float or None
        The prevalence that the user stated, for PPV and NPV.
    """

    finding: str
    scores: tuple[Score, ...]
    per_class: dict[str, tuple[Score, ...]] = {}
    confusion: tuple[tuple[int, ...], ...] = ()
    classes: tuple[str, ...] = ()
    counts: dict[str, int] = {}
    unknown: int = 0
    operating_point: OperatingPoint | None = None
    prevalence: float | None = None
    reliability: Reliability | None = None
    subgroups: tuple[Subgroup, ...] = ()
    warnings: tuple[str, ...] = ()


class Report(Frozen):
    """An evaluation: one model on one split of one manifest.

    Attributes
    ----------
    model, manifest : str
        Digests.
    trained_on : str
        Digest of the manifest the model was trained on; another one than ``manifest`` makes the set external.
    split : Split or "all"
        ``all`` takes every case of an external set, whatever its split.
    cases, patients : int
        Evaluated; cases that could not be read are counted in ``rejected``.
    opened_for : int
        For how many models the test split was looked at so far, this one included; 0 where no test case is among the
        cases. Looking again for the same model changes nothing, so that equal inputs give an equal report.
    """

    model: str
    manifest: str
    trained_on: str = ""
    split: Split | Literal["all"]
    external: bool = False
    engine: str = ""
    cases: int
    patients: int
    rejected: int = 0
    acknowledged_leaks: int = 0
    opened_for: int = 0
    resamples: int = 0
    seed: int = 0
    findings: tuple[FindingReport, ...]
    calibration: tuple[Calibration, ...] = ()
    warnings: tuple[str, ...] = ()
