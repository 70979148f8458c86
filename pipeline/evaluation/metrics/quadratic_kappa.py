"""Quadratic weighted kappa: agreement beyond chance, a miss by two grades costing four times a miss by one.

Cohen 1968.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Part
from pipeline.domain.finding import FindingKind
from pipeline.evaluation.metrics.figure import Figure
from pipeline.evaluation.metrics.metric import Metric, Needs, confusion, ratio
from pipeline.evaluation.sample import Sample, Weights


class Config(Part):
    """Quadratic weighted kappa has no settings."""

    kind: Literal["quadratic_kappa"] = "quadratic_kappa"

    def build(self) -> Metric:
        """Make the metric."""
        return Figure(
            name=self.kind,
            title="Quadratic weighted kappa",
            function=quadratic_kappa,
            undefined="truth and decisions are all of one class",
            kinds=frozenset({FindingKind.ORDINAL}),
            needs=Needs.DECISIONS,
            higher_is_better=True,
        )


def quadratic_kappa(sample: Sample, weights: Weights) -> NDArray[np.float64]:
    """Weighted kappa, shape (rows,)."""
    cells = confusion(sample, weights)
    grades = np.arange(sample.classes)
    cost = (grades[:, np.newaxis] - grades[np.newaxis, :]) ** 2.0
    by_chance = np.einsum("rt,rd,td->r", cells.sum(axis=2), cells.sum(axis=1), cost)
    found = np.einsum("rtd,td->r", cells, cost) * cells.sum(axis=(1, 2))
    return 1.0 - ratio(found, by_chance)
