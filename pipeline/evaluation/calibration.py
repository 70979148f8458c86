"""Calibration: temperature scaling on validation, and how probabilities agree with frequencies.

Temperature scaling (Guo et al. 2017, *On Calibration of Modern Neural Networks*) divides the logits of a finding by one
number that minimises the negative log likelihood. It never changes the order of cases, so AUROC stays as it is.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax

from pipeline.domain.case import UNKNOWN
from pipeline.domain.encoding import class_probabilities
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.score import Calibration, Reliability, ReliabilityBin
from pipeline.evaluation.metrics.brier import brier_terms

FEWEST_KNOWN = 10
"""A temperature is fitted to at least this many known labels, of at least two classes."""

LOWEST, HIGHEST = 0.05, 20.0
"""Bounds of the temperature. At the lower one validation is separated perfectly, so that the likelihood has no maximum,
or the network tells next to nothing apart."""

SHARPEST = 1e-9
"""Temperature at which the likelihood of cases that are separated perfectly is one."""

TINY = 1e-12

WILSON_Z = 1.959963984540054
"""Two-sided 95%."""


def fit_temperature(finding: Finding, logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Calibration:
    """Fit the temperature of one finding.

    Parameters
    ----------
    finding : Finding
    logits : ndarray, shape (n, outputs)
        Of this finding, on validation.
    labels : ndarray of int, shape (n,) or (n, columns)
        As :func:`pipeline.domain.encoding.encode_labels` gives them for this finding; unknown ones (-1) are left out.

    Returns
    -------
    Calibration
        Temperature 1 with a note where there are too few labels, only one class, or no finite temperature.
    """
    scores = np.asarray(logits, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.int64).reshape(len(scores), -1)
    known = truth[truth != UNKNOWN]
    before = mean_brier(finding, class_probabilities(finding, scores), truth)
    temperature, note = _fit(finding, scores, truth, known)
    after = mean_brier(finding, class_probabilities(finding, scores, temperature), truth)
    return Calibration(finding=finding.name, temperature=temperature, brier_before=before, brier_after=after, note=note)


def _fit(
    finding: Finding, logits: NDArray[np.float64], truth: NDArray[np.int64], known: NDArray[np.int64]
) -> tuple[float, str]:
    if len(known) < FEWEST_KNOWN:
        return 1.0, f"not fitted: {len(known)} known labels, {FEWEST_KNOWN} are needed"
    if len(np.unique(known)) < 2:
        return 1.0, "not fitted: only one class is present"
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(finding, logits / np.exp(log_t), truth),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    temperature = float(np.exp(found.x))
    if temperature < LOWEST * 1.01:
        if negative_log_likelihood(finding, logits / SHARPEST, truth) < TINY:
            return 1.0, "not fitted: the cases are separated perfectly, any sharpening would look better"
        return 1.0, f"not fitted: the logits differ so little between cases that it would lie below {LOWEST:g}"
    if temperature > HIGHEST / 1.01:
        return temperature, "at its upper bound: the logits say little about the truth of these cases"
    return temperature, ""


def negative_log_likelihood(finding: Finding, logits: NDArray[np.float64], truth: NDArray[np.int64]) -> float:
    """Mean over known labels, in nats, from logits (n, outputs) and labels (n, columns)."""
    known = truth != UNKNOWN
    match finding.kind:
        case FindingKind.BINARY | FindingKind.MULTILABEL:
            return float(-np.mean(log_expit(np.where(truth == 1, logits, -logits))[known]))
        case FindingKind.MULTICLASS:
            logs = log_softmax(logits, axis=1)
        case FindingKind.ORDINAL:
            logs = np.log(np.maximum(class_probabilities(finding, logits), TINY))
    rows = known[:, 0]
    return float(-np.mean(logs[rows, truth[rows, 0]]))


def mean_brier(finding: Finding, probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> float | None:
    """Brier score over known labels (multilabel: over all known class labels); None where there are none.

    Parameters
    ----------
    probabilities : ndarray, shape (n, classes)
    truth : ndarray of int, shape (n, columns)
    """
    known = truth != UNKNOWN
    if not known.any():
        return None
    if finding.kind is FindingKind.MULTILABEL:
        return float(np.mean((probabilities - truth)[known] ** 2))
    rows = known[:, 0]
    return float(np.mean(brier_terms(probabilities[rows], truth[rows, 0])))


def reliability(
    finding: Finding, probabilities: NDArray[np.float64], truth: NDArray[np.int64], bins: int
) -> Reliability:
    """Mean probability and observed frequency in bins of equal width; arguments as in :func:`mean_brier`."""
    known = truth != UNKNOWN
    match finding.kind:
        case FindingKind.BINARY:
            name, claimed, came = finding.positive, probabilities[known[:, 0], 1], truth[known[:, 0], 0] == 1
        case FindingKind.MULTILABEL:
            name, claimed, came = "all classes together", probabilities[known], truth[known] == 1
        case FindingKind.MULTICLASS | FindingKind.ORDINAL:
            kept = probabilities[known[:, 0]]
            name, claimed = "the most probable class", kept.max(axis=1) if len(kept) else np.zeros(0)
            came = kept.argmax(axis=1) == truth[known[:, 0], 0]
    which = np.minimum((claimed * bins).astype(int), bins - 1)
    found = tuple(_bin(number, bins, claimed[which == number], came[which == number]) for number in range(bins))
    gaps = [
        entry.cases * abs(entry.predicted - entry.observed)
        for entry in found
        if entry.predicted is not None and entry.observed is not None
    ]
    error = float(sum(gaps) / len(claimed)) if len(claimed) else None
    return Reliability(of=name, bins=found, expected_calibration_error=error)


def _bin(number: int, bins: int, claimed: NDArray[np.float64], came: NDArray[np.bool_]) -> ReliabilityBin:
    lower, upper, count = number / bins, (number + 1) / bins, len(claimed)
    if not count:
        empty = dict.fromkeys(("predicted", "observed", "low", "high"))
        return ReliabilityBin(lower=lower, upper=upper, cases=0, **empty)
    share = float(came.mean())
    low, high = wilson(share, count)
    return ReliabilityBin(
        lower=lower, upper=upper, cases=count, predicted=float(claimed.mean()), observed=share, low=low, high=high
    )


def wilson(share: float, count: int) -> tuple[float, float]:
    """95% interval of a proportion (Wilson 1927)."""
    z2 = WILSON_Z**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = WILSON_Z / (1 + z2 / count) * np.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
