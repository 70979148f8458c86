"""Log loss: mean negative log probability of the true class, in nats."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Part
from pipeline.evaluation.metrics.figure import Figure
from pipeline.evaluation.metrics.metric import CLASSES, Metric, Needs, ratio
from pipeline.evaluation.sample import Sample, Weights


class Config(Part):
    """Log loss has no settings."""

    kind: Literal["log_loss"] = "log_loss"

    def build(self) -> Metric:
        """Make the metric."""
        return Figure(
            name=self.kind,
            title="Log loss",
            function=log_loss,
            undefined="no case",
            kinds=CLASSES,
            needs=Needs.PROBABILITIES,
            higher_is_better=False,
        )


FLOOR = float(np.finfo(np.float64).eps)
"""Probabilities are clipped to it, so that one impossible case does not make the loss infinite."""


def log_loss(sample: Sample, weights: Weights) -> NDArray[np.float64]:
    """Weighted log loss, shape (rows,)."""
    true = sample.probabilities[np.arange(sample.cases), sample.truth]
    return ratio(weights @ -np.log(np.clip(true, FLOOR, 1.0 - FLOOR)), weights.sum(axis=1))
