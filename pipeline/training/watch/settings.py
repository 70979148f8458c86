"""What is watched beside a training. Imports no torch. Watching never changes a weight."""

from typing import Literal

from pydantic import Field, PositiveInt

from pipeline.config import Settings


class DepthWatchSettings(Settings):
    """Gradients, residual branches and updates by depth."""

    enabled: bool = Field(
        default=True,
        description="Measure each stage: norm of its gradient, residual branch to shortcut |F(x)| / |x|, update to "
        "weights. Metrics depth/..., a chart by depth, and a warning that names the stage whose gradients vanish or "
        "explode. The weights come out the same with and without. Residual branches are measured on the first "
        "`micro_batch` cases of a batch that goes through the network in parts; gradients and updates on all.",
    )
    every: PositiveInt = Field(
        default=20,
        description="Optimizer steps between two measurements, the first step included; a measured step takes some 5% "
        "longer.",
    )


SAMPLE_SHARE = 20
FEWEST, MOST = 32, 1000
"""The automatic sample: one training case in so many, within these bounds. A forward pass is a third of a step, so that
a twentieth costs under 2% of an epoch; fewer than 32 cases would tell little."""


class OverfittingWatchSettings(Settings):
    """The gap between training and validation loss, measured alike."""

    enabled: bool = Field(
        default=True,
        description="At the end of each epoch evaluate a fixed sample of training cases as validation is: without "
        "augmentation, dropout, class weights and smoothing. Metrics overfit/..., and in words at the end. The loss of "
        "training itself (train/loss) has all of these and cannot be compared with val/loss. The weights come out the "
        "same with and without.",
    )
    cases: Literal["auto"] | PositiveInt = Field(
        default="auto",
        description="Training cases in the sample. auto: a twentieth of them, 32 at least, 1000 at most; costs under "
        "2% of an epoch from 640 cases on.",
    )

    def sample_size(self, available: int) -> int:
        """Cases in the sample, of so many."""
        wanted = max(FEWEST, min(MOST, available // SAMPLE_SHARE)) if self.cases == "auto" else self.cases
        return min(available, wanted)
