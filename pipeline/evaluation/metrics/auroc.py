"""Area under the ROC curve: the chance that a positive case scores above a negative one, ties counting half.

The Mann-Whitney statistic (Hanley and McNeil 1982): scores are sorted once, each weighting then costs O(n).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Part
from pipeline.evaluation.metrics.figure import Figure
from pipeline.evaluation.metrics.metric import BINARY, Metric, Needs, pairs, ratio
from pipeline.evaluation.sample import Sample, Weights


class Config(Part):
    """AUROC has no settings."""

    kind: Literal["auroc"] = "auroc"

    def build(self) -> Metric:
        """Make the metric."""
        return Figure(
            name=self.kind,
            title="AUROC",
            function=auroc,
            undefined="needs positive and negative cases",
            kinds=BINARY,
            needs=Needs.PROBABILITIES,
            higher_is_better=True,
        )


def auroc(sample: Sample, weights: Weights) -> NDArray[np.float64]:
    """Weighted AUROC, shape (rows,)."""
    return ratio(*pairs(sample, weights))
