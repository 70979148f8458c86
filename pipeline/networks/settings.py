"""Which network is trained."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field

from pipeline.backbones.resnet import Config as ResnetConfig
from pipeline.backbones.settings import BackboneSettings
from pipeline.config import KindOf, Settings

OrdinalKind = Literal["proportional", "grades"]
"""Heads of ordinal findings."""


class NetworkSettings(Settings):
    """Backbone and head; travels in the model package."""

    backbone: Annotated[BackboneSettings, KindOf("pipeline.backbones", default="resnet")] = Field(
        default_factory=ResnetConfig, description="The network from image to feature vector."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the heads.")
    ordinal: OrdinalKind = Field(
        default="proportional",
        description="Head of ordinal findings. proportional: one score and rising thresholds (proportional odds, "
        "McCullagh 1980), for few cases a grade. grades: a score for each grade, where a grade shows signs of its own; "
        "the probabilities of higher grades still never contradict those of lower ones.",
    )

    def resolved(self, depth: int, size: Sequence[int], spacing: Sequence[float] | None) -> Self:
        """Replace every ``auto`` by what the plan decided; see :meth:`BackboneSettings.resolved`."""
        return self.model_copy(update={"backbone": self.backbone.resolved(depth, size, spacing)})
