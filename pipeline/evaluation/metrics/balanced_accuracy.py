"""Balanced accuracy: mean over the classes of the share decided right. It does not follow the prevalence."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Part
from pipeline.evaluation.metrics.figure import Figure
from pipeline.evaluation.metrics.metric import CLASSES, Metric, Needs, confusion, ratio
from pipeline.evaluation.sample import Sample, Weights


class Config(Part):
    """Balanced accuracy has no settings."""

    kind: Literal["balanced_accuracy"] = "balanced_accuracy"

    def build(self) -> Metric:
        """Make the metric."""
        return Figure(
            name=self.kind,
            title="Balanced accuracy",
            function=balanced_accuracy,
            undefined="a class has no case",
            kinds=CLASSES,
            needs=Needs.DECISIONS,
            higher_is_better=True,
        )


def balanced_accuracy(sample: Sample, weights: Weights) -> NDArray[np.float64]:
    """Weighted balanced accuracy, shape (rows,); NaN unless every class has cases."""
    cells = confusion(sample, weights)
    recalls = ratio(np.diagonal(cells, axis1=1, axis2=2), cells.sum(axis=2))
    return np.asarray(recalls.mean(axis=1))
