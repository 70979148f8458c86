"""Metrics that are a proportion of cases: right ones among those that count."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.finding import FindingKind
from pipeline.evaluation.metrics.metric import BINARY, Needs, ratio
from pipeline.evaluation.sample import Sample, Weights

Mask = Callable[[Sample], NDArray[np.bool_]]


def right(sample: Sample) -> NDArray[np.bool_]:
    """Cases whose decision is the truth."""
    return np.asarray(sample.decided == sample.truth)


@dataclass(slots=True)
class Proportion:
    """Share of right decisions among the cases of `among`; implements Metric."""

    name: str
    title: str
    among: Mask
    undefined: str
    kinds: frozenset[FindingKind] = BINARY
    needs: Needs = Needs.DECISIONS
    higher_is_better: bool = True

    def values(self, sample: Sample, weights: Weights) -> NDArray[np.float64]:
        """See :meth:`Metric.values`."""
        among = self.among(sample)
        return ratio(weights @ (among & right(sample)).astype(float), weights @ among.astype(float))

    def trials(self, sample: Sample) -> NDArray[np.bool_]:
        """See :meth:`Metric.trials`."""
        return self.among(sample)
