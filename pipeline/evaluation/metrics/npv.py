"""Negative predictive value at the prevalence of the sample."""

from typing import Literal

from pipeline.config import Part
from pipeline.evaluation.metrics.metric import Metric
from pipeline.evaluation.metrics.proportion import Proportion


class Config(Part):
    """NPV has no settings."""

    kind: Literal["npv"] = "npv"

    def build(self) -> Metric:
        """Make the metric."""
        return Proportion(
            name=self.kind,
            title="NPV",
            among=lambda sample: sample.decided == 0,
            undefined="no case is decided negative",
        )
