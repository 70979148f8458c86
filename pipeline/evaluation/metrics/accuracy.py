"""Accuracy: share of the cases that are decided right. It follows the prevalence of the sample."""

from typing import Literal

import numpy as np

from pipeline.config import Part
from pipeline.evaluation.metrics.metric import CLASSES, Metric
from pipeline.evaluation.metrics.proportion import Proportion


class Config(Part):
    """Accuracy has no settings."""

    kind: Literal["accuracy"] = "accuracy"

    def build(self) -> Metric:
        """Make the metric."""
        return Proportion(
            name=self.kind,
            title="Accuracy",
            among=lambda sample: np.ones(sample.cases, dtype=np.bool_),
            undefined="no case",
            kinds=CLASSES,
        )
