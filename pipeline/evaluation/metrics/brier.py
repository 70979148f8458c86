"""Brier score: mean squared distance between probabilities and truth.

Binary: of the positive class, in [0, 1]. Several classes: summed over them, in [0, 2] (Brier 1950).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Part
from pipeline.evaluation.metrics.figure import Figure
from pipeline.evaluation.metrics.metric import CLASSES, Metric, Needs, ratio
from pipeline.evaluation.sample import Sample, Weights


class Config(Part):
    """Brier score has no settings."""

    kind: Literal["brier"] = "brier"

    def build(self) -> Metric:
        """Make the metric."""
        return Figure(
            name=self.kind,
            title="Brier score",
            function=brier,
            undefined="no case",
            kinds=CLASSES,
            needs=Needs.PROBABILITIES,
            higher_is_better=False,
        )


def brier(sample: Sample, weights: Weights) -> NDArray[np.float64]:
    """Weighted Brier score, shape (rows,)."""
    return ratio(weights @ brier_terms(sample.probabilities, sample.truth), weights.sum(axis=1))


def brier_terms(probabilities: NDArray[np.float64], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Squared distance of each case, shape (n,), from probabilities (n, classes) and class indices (n,)."""
    distance = probabilities - np.eye(probabilities.shape[1])[truth]
    if probabilities.shape[1] == 2:
        return np.asarray(distance[:, 1] ** 2)
    return np.asarray(np.sum(distance**2, axis=1))
