"""What a model says about one case."""

from enum import StrEnum

from pipeline.domain.frozen import Frozen


class ScopeVerdict(StrEnum):
    """Whether the scan is like the training data."""

    IN_SCOPE = "in_scope"
    OUT_OF_SCOPE = "out_of_scope"
    NOT_CHECKED = "not_checked"


class EarlierStatus(StrEnum):
    """Why a prediction no longer stands."""

    SUPERSEDED = "SUPERSEDED"
    """Its scan has changed since."""
    ABSENT = "ABSENT"
    """Its scan is not among those asked about today."""


class FindingPrediction(Frozen):
    """Calibrated answer to one finding.

    Attributes
    ----------
    probabilities : dict of str to float
        Class to probability. Multilabel: independent probabilities.
    decision : str
        Decided class (multilabel: classes joined by ``|``) at the frozen operating point.
    threshold : float or None
        The operating point (binary only).
    """

    finding: str
    probabilities: dict[str, float]
    decision: str
    threshold: float | None = None


class Prediction(Frozen):
    """One row of predictions.csv. Pseudonyms only.

    Attributes
    ----------
    findings : tuple of FindingPrediction
        One a finding; empty where the scan is out of scope and its probabilities are withheld.
    scope_reasons : tuple of str
        Why the scan is unlike the training data; empty where it is not.
    """

    case: str
    patient: str
    study: str
    series: str
    digest: str
    model: str
    findings: tuple[FindingPrediction, ...]
    scope: ScopeVerdict = ScopeVerdict.NOT_CHECKED
    scope_reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
