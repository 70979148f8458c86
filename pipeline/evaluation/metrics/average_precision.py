"""Average precision: precision at each distinct score, weighted by the recall that it adds.

The step-wise area under the precision-recall curve, without interpolation (Davis and Goadrich 2006). A useless score
has the prevalence.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Part
from pipeline.evaluation.metrics.figure import Figure
from pipeline.evaluation.metrics.metric import BINARY, Metric, Needs, grouped, ratio, tie_groups
from pipeline.evaluation.sample import Sample, Weights


class Config(Part):
    """Average precision has no settings."""

    kind: Literal["average_precision"] = "average_precision"

    def build(self) -> Metric:
        """Make the metric."""
        return Figure(
            name=self.kind,
            title="Average precision",
            function=average_precision,
            undefined="no positive case",
            kinds=BINARY,
            needs=Needs.PROBABILITIES,
            higher_is_better=True,
        )


def average_precision(sample: Sample, weights: Weights) -> NDArray[np.float64]:
    """Weighted average precision, shape (rows,)."""
    order, starts = tie_groups(sample.score)
    ordered, positive = weights[:, order], sample.positive[order].astype(float)
    ups, all_weights = grouped(ordered * positive, starts), grouped(ordered, starts)
    precision = np.nan_to_num(ratio(np.cumsum(ups, axis=1), np.cumsum(all_weights, axis=1)))  # 0/0 adds no recall
    return ratio(np.sum(ups * precision, axis=1), ups.sum(axis=1))
