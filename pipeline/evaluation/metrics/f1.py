"""F1: harmonic mean of sensitivity and PPV."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Part
from pipeline.evaluation.metrics.figure import Figure
from pipeline.evaluation.metrics.metric import BINARY, Metric, Needs, confusion, ratio
from pipeline.evaluation.sample import Sample, Weights


class Config(Part):
    """F1 has no settings."""

    kind: Literal["f1"] = "f1"

    def build(self) -> Metric:
        """Make the metric."""
        return Figure(
            name=self.kind,
            title="F1",
            function=f1,
            undefined="no case is positive or decided so",
            kinds=BINARY,
            needs=Needs.DECISIONS,
            higher_is_better=True,
        )


def f1(sample: Sample, weights: Weights) -> NDArray[np.float64]:
    """Weighted F1, shape (rows,)."""
    cells = confusion(sample, weights)
    twice = 2.0 * cells[:, 1, 1]
    return ratio(twice, twice + cells[:, 0, 1] + cells[:, 1, 0])
