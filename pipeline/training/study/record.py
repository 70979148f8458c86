"""The networks of a study, and what is kept of each once it is trained."""

from typing import NamedTuple

from pipeline.backbones.options import NormName
from pipeline.domain.frozen import Frozen
from pipeline.domain.score import Score
from pipeline.training.study.course import Course


class Shape(NamedTuple):
    """What tells the networks of a study apart, but for their seeds."""

    depth: int
    residual: bool
    norm: NormName

    @property
    def name(self) -> str:
        """Such as ``residual-110-batch``."""
        return f"{'residual' if self.residual else 'plain'}-{self.depth}-{self.norm}"

    @property
    def title(self) -> str:
        """As the papers write it: ``ResNet-110``, ``Plain-110``; with the norm where it is not batch norm."""
        kind = "ResNet" if self.residual else "Plain"
        return f"{kind}-{self.depth}{'' if self.norm == 'batch' else f', norm {self.norm}'}"


class Record(Frozen):
    """One trained network.

    Attributes
    ----------
    auroc : Score or None
        On validation at the best point of the course, mean over findings where there are several, with its interval;
        None where it is not defined. The point was chosen on the same cases, so it flatters a little.
    standard_error : float or None
        Of `auroc`, over the resamples of its interval.
    """

    shape: Shape
    seed: int
    course: Course
    auroc: Score | None = None
    standard_error: float | None = None

    @property
    def name(self) -> str:
        """Folder of the network."""
        return f"{self.shape.name}-seed{self.seed}"
