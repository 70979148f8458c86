"""Area under the ROC curve: the chance that a positive case scores above a negative one, ties counting half.

The Mann-Whitney statistic (Hanley and McNeil 1982): scores are sorted once, each weighting then costs O(n).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Part
from pipeline.evaluation.metrics.figure import Figure
from pipeline.evaluation.metrics.metric import BINARY, Metric, Needs, grouped, ratio, tie_groups
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
    order, starts = tie_groups(sample.score)
    ordered, positive = weights[:, order], sample.positive[order].astype(float)
    ups, downs = grouped(ordered * positive, starts), grouped(ordered * (1.0 - positive), starts)
    above = np.cumsum(ups, axis=1) - 0.5 * ups  # positives that score above a group, half of those within it
    return ratio(np.sum(downs * above, axis=1), ups.sum(axis=1) * downs.sum(axis=1))
