"""ResNet of 10 to 152 layers, and its plain twin (He et al. 2016)."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from pipeline.backbones.settings import BackboneSettings

if TYPE_CHECKING:
    from pipeline.backbones.backbone import Backbone

Depth = Literal["auto", 10, 14, 18, 26, 34, 50, 101, 152]

BASIC = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Blocks a stage by depth: stem, two layers a block, classifier."""

BOTTLENECK = {14: (1, 1, 1, 1), 26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks a stage by depth: stem, three layers a block, classifier."""

DEFAULT_DEPTH = {"auto": 18, "basic": 18, "bottleneck": 50}
"""Depth where neither settings nor a plan say one."""

STEMS: dict[Literal["small", "medium"], int] = {"small": 4096, "medium": 32768}
"""Most voxels of an input that a stem is for: 64 squared or 16 cubed, 181 squared or 32 cubed; large beyond. Each step
costs 4 times (2D) or 8 times (3D) less than the one before."""


class Config(BackboneSettings):
    """Settings of the residual network."""

    kind: Literal["resnet"] = "resnet"
    depth: Depth = Field(
        default="auto", description="Layers; auto takes what the plan decided from the number of training cases."
    )
    width: PositiveInt = Field(
        default=64, description="Channels of the first stage; each of the three later stages doubles them."
    )
    block: Literal["auto", "basic", "bottleneck"] = Field(
        default="auto",
        description="basic (two 3x3) for 10, 18, 34 layers; bottleneck (1x1, 3x3, 1x1) for 14, 26, 50, 101, 152.",
    )
    stem: Literal["auto", "small", "medium", "large"] = Field(
        default="auto",
        description="small: 3x3, keeps every voxel. medium: 3x3 stride 2. large: 7x7 stride 2 and max pooling. auto: "
        "small up to 4096 voxels (64 squared, 16 cubed), medium up to 32768 (32 cubed).",
    )
    norm: Literal["batch", "group", "instance"] = Field(
        default="batch", description="batch needs batches of some 8 cases and more; group works with any."
    )
    residual: bool = Field(default=True, description="false gives the plain twin: the same layers, no shortcuts.")
    stochastic_depth: float = Field(
        default=0.0, ge=0, lt=1, description="Chance to drop the last block in training; earlier ones less, linearly."
    )
    zero_init: bool = Field(
        default=True, description="Start every residual block as its shortcut (last norm's scale 0)."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.depth != "auto" and self.block != "auto":
            layouts = BASIC if self.block == "basic" else BOTTLENECK
            if self.depth not in layouts:
                raise ValueError(f"depth {self.depth} has no {self.block} blocks, expected one of {list(layouts)}")
        if self.stochastic_depth and not self.residual:
            raise ValueError("stochastic_depth needs residual: true, a plain network has no branch to drop")
        return self

    def resolved(self, depth: int, size: Sequence[int]) -> Self:
        """See :meth:`BackboneSettings.resolved`; a depth that no layout has becomes the next smaller one."""
        changes: dict[str, object] = {}
        if self.depth == "auto":
            layouts = {"basic": BASIC, "bottleneck": BOTTLENECK, "auto": BASIC | BOTTLENECK}[self.block]
            changes["depth"] = max((known for known in layouts if known <= depth), default=min(layouts))
        if self.stem == "auto":
            changes["stem"] = next((stem for stem, most in STEMS.items() if math.prod(size) <= most), "large")
        return self.model_validate(self.model_dump() | changes)

    def build(self, ndim: int, channels: int) -> "Backbone":
        """See :meth:`BackboneSettings.build`; what is still ``auto`` becomes 18 layers and the small stem."""
        from pipeline.backbones.blocks import BlockSettings
        from pipeline.backbones.operators import OPERATORS
        from pipeline.backbones.residual import ResidualNetwork
        from pipeline.backbones.stems import Stem

        depth = DEFAULT_DEPTH[self.block] if self.depth == "auto" else self.depth
        stem = "small" if self.stem == "auto" else self.stem
        operators = OPERATORS[ndim]
        return ResidualNetwork(
            ndim,
            Stem(stem, operators, self.norm, channels, self.width),
            BlockSettings(operators, self.norm, self.residual),
            bottleneck=depth in BOTTLENECK,
            blocks=(BASIC | BOTTLENECK)[depth],
            width=self.width,
            stochastic_depth=self.stochastic_depth,
            zero_init=self.zero_init,
        )
