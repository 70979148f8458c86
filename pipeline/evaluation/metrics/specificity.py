"""Specificity: share of the negative cases that are decided negative."""

from typing import Literal

from pipeline.config import Part
from pipeline.evaluation.metrics.metric import Metric
from pipeline.evaluation.metrics.proportion import Proportion


class Config(Part):
    """Specificity has no settings."""

    kind: Literal["specificity"] = "specificity"

    def build(self) -> Metric:
        """Make the metric."""
        return Proportion(
            name=self.kind, title="Specificity", among=lambda sample: ~sample.positive, undefined="no negative case"
        )
