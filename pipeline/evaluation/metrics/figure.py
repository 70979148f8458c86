"""Metrics that are no proportion, given by one function."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.finding import FindingKind
from pipeline.evaluation.metrics.metric import Needs
from pipeline.evaluation.sample import Sample, Weights


@dataclass(slots=True)
class Figure:
    """A function of a sample and its weights; implements Metric."""

    name: str
    title: str
    function: Callable[[Sample, Weights], NDArray[np.float64]]
    undefined: str
    kinds: frozenset[FindingKind]
    needs: Needs
    higher_is_better: bool

    def values(self, sample: Sample, weights: Weights) -> NDArray[np.float64]:
        """See :meth:`Metric.values`."""
        return self.function(sample, weights)

    def trials(self, sample: Sample) -> None:
        """See :meth:`Metric.trials`."""
        return
