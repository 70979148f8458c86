"""95% intervals: percentile bootstrap, clustered by patient.

A resample draws as many patients as there are, with replacement, and takes all cases of each: cases of one patient are
alike and must not pass for independent ones (Field and Welsh 2007, *Bootstrapping clustered data*). Nothing is
stratified, so that the number of positives varies as it would in another sample of patients. The same resamples serve
every metric, finding and subgroup of an evaluation, so that values made of several metrics stay consistent.

A resample under which a metric is not defined is left out and counted in the score's note. A proportion of 0 or 1 has
no spread to resample; it gets the exact Clopper-Pearson interval over patients (the rule of three at 95%).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from pipeline.domain.score import Score
from pipeline.evaluation.metrics.metric import Metric
from pipeline.evaluation.sample import Sample, Weights

CHUNK = 2_000_000
"""Weights made at once: 16 MB."""

FEWEST_DEFINED = 0.5
"""No interval is given when a smaller share of the resamples has a value."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its resampled values.

    Attributes
    ----------
    value : float
        NaN where it is not defined, and so are entries of ``resampled``.
    resampled : ndarray of float, shape (resamples,)
    reason : str
        Why it would not be defined.
    exact : tuple of float or None
        Interval to give instead of the percentiles, made as ``exact_method`` says.
    """

    value: float
    resampled: NDArray[np.float64]
    reason: str
    exact: tuple[float, float] | None = None
    exact_method: str = "exact (Clopper-Pearson) over patients"


class Bootstrap:
    """The resamples of one evaluation.

    Parameters
    ----------
    patients : sequence of str
        Patient of each case.
    resamples : int
    seed : int
    level : float
        Coverage of the intervals.

    Attributes
    ----------
    patients : ndarray of int, shape (cases,)
        Number of each case's patient; what :attr:`Sample.patients` holds.
    """

    def __init__(self, patients: Sequence[str], *, resamples: int = 2000, seed: int = 0, level: float = 0.95) -> None:
        names, index = np.unique(np.asarray(patients, dtype=object).astype(str), return_inverse=True)
        self.patients: NDArray[np.int64] = index.astype(np.int64)
        self.level = level
        self._counts = _draw(len(names), resamples, seed)

    @property
    def method(self) -> str:
        """How intervals are made, in words."""
        return f"percentile bootstrap, {len(self._counts)} resamples of patients"

    def estimate(self, metric: Metric, sample: Sample) -> Estimate:
        """Value of a metric on a sample and on each resample of it."""
        if not sample.cases:
            return Estimate(np.nan, np.full(len(self._counts), np.nan), "no case with known truth")
        value = float(metric.values(sample, np.ones((1, sample.cases)))[0])
        resampled = np.concatenate([metric.values(sample, weights) for weights in self.weights(sample)])
        return Estimate(value, resampled, metric.undefined, self._exact(metric, sample, value))

    def weights(self, sample: Sample) -> Iterator[Weights]:
        """How often each case of a sample stands in each resample: pieces of shape (rows, n)."""
        rows = max(1, CHUNK // max(1, sample.cases))
        for start in range(0, len(self._counts), rows):
            yield self._counts[start : start + rows][:, sample.patients].astype(np.float64)

    def bounds(self, estimate: Estimate) -> tuple[float, float] | None:
        """Interval of an estimate, None where there is none to give."""
        if estimate.exact is not None or np.isnan(estimate.value):
            return estimate.exact
        low, high, _ = self._percentiles(estimate.resampled)
        return None if low is None or high is None else (low, high)

    def score(self, name: str, estimate: Estimate, patients: NDArray[np.int64], note: str = "") -> Score:
        """Turn an estimate into a score with its interval; `patients` are those of the cases it rests on."""
        distinct = len(np.unique(patients))
        value = None if np.isnan(estimate.value) else estimate.value
        low, high, method, caveat = None, None, self.method, ""
        if value is None:
            caveat = f"not defined: {estimate.reason}"
        elif estimate.exact is not None:
            (low, high), method = estimate.exact, estimate.exact_method
        elif distinct == 1:
            caveat = "no interval: one patient only"
        else:
            low, high, caveat = self._percentiles(estimate.resampled)
        return Score(
            metric=name,
            value=value,
            low=low,
            high=high,
            level=self.level,
            method=method,
            cases=len(patients),
            patients=distinct,
            note="; ".join(filter(None, [note, caveat])),
        )

    def _percentiles(self, resampled: NDArray[np.float64]) -> tuple[float | None, float | None, str]:
        defined = resampled[~np.isnan(resampled)]
        lost = len(resampled) - len(defined)
        caveat = f"not defined in {lost} of {len(resampled)} resamples, which are left out" if lost else ""
        if len(defined) < FEWEST_DEFINED * len(resampled):
            return None, None, f"no interval: {caveat}"
        tail = (1.0 - self.level) / 2.0
        low, high = (float(edge) for edge in np.quantile(defined, [tail, 1.0 - tail]))
        if low == high:
            same = "every resample has the same value, so the interval shows no uncertainty; that is not certainty"
            caveat = "; ".join(filter(None, [caveat, same]))
        return low, high, caveat

    def _exact(self, metric: Metric, sample: Sample, value: float) -> tuple[float, float] | None:
        """Clopper-Pearson interval of a proportion of 0 or 1, each patient counting once."""
        trials = metric.trials(sample)
        if trials is None or value not in (0.0, 1.0):
            return None
        count = len(np.unique(sample.patients[trials]))
        tail = (1.0 - self.level) / 2.0
        if value == 0.0:
            return 0.0, float(beta.ppf(1.0 - tail, 1, count))
        return float(beta.ppf(tail, count, 1)), 1.0


def combine(parts: Sequence[Estimate], function: Callable[..., NDArray[np.float64]], reason: str) -> Estimate:
    """Value made of others, resample by resample: the mean of several AUROCs, PPV of sensitivity and specificity.

    Parameters
    ----------
    function : callable
        Takes one array a part and returns an array of their shape; NaN passes through.
    reason : str
        Why the value would not be defined though its parts are.
    """
    assert parts
    value = float(function(*(np.array([part.value]) for part in parts))[0])
    undefined = next((part.reason for part in parts if np.isnan(part.value)), reason)
    return Estimate(value, function(*(part.resampled for part in parts)), undefined)


def _draw(patients: int, resamples: int, seed: int) -> NDArray[np.uint16]:
    """How often each patient is drawn, shape (resamples, patients)."""
    random = np.random.default_rng(seed)
    counts = np.zeros((resamples, patients), dtype=np.uint16)
    for row in counts if patients else ():
        row[:] = np.bincount(random.integers(0, patients, patients), minlength=patients)
    return counts
