"""Positive predictive value (precision) at the prevalence of the sample."""

from typing import Literal

from pipeline.config import Part
from pipeline.evaluation.metrics.metric import Metric
from pipeline.evaluation.metrics.proportion import Proportion


class Config(Part):
    """PPV has no settings."""

    kind: Literal["ppv"] = "ppv"

    def build(self) -> Metric:
        """Make the metric."""
        return Proportion(
            name=self.kind,
            title="PPV",
            among=lambda sample: sample.decided == 1,
            undefined="no case is decided positive",
        )
