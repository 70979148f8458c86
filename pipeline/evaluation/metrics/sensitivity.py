"""Sensitivity (recall): share of the positive cases that are decided positive."""

from typing import Literal

from pipeline.config import Part
from pipeline.evaluation.metrics.metric import Metric
from pipeline.evaluation.metrics.proportion import Proportion


class Config(Part):
    """Sensitivity has no settings."""

    kind: Literal["sensitivity"] = "sensitivity"

    def build(self) -> Metric:
        """Make the metric."""
        return Proportion(
            name=self.kind, title="Sensitivity", among=lambda sample: sample.positive, undefined="no positive case"
        )
