"""What is watched beside a training. Imports no torch. Watching never changes a weight."""

from pydantic import Field, PositiveInt

from pipeline.config import Settings


class DepthWatchSettings(Settings):
    """Gradients, residual branches and updates by depth."""

    enabled: bool = Field(
        default=True,
        description="Measure each stage: norm of its gradient, residual branch to shortcut |F(x)| / |x|, update to "
        "weights. Metrics depth/..., a chart by depth, and a warning that names the stage whose gradients vanish or "
        "explode. The weights come out the same with and without.",
    )
    every: PositiveInt = Field(
        default=20,
        description="Optimizer steps between two measurements, the first step included; a measured step takes some 10% "
        "longer.",
    )
