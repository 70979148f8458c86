"""Settings of the residual network: what every part that is one shares."""

import math
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from pipeline.backbones.layouts import DEFAULT_DEPTH, Layout, depth_below, find_layout
from pipeline.backbones.options import STEM_STEPS, NormName, ShortcutName, StemName
from pipeline.backbones.settings import BackboneSettings
from pipeline.backbones.strides import Stride, choose_strides
from pipeline.config import AutoOrCount
from pipeline.errors import ConfigError

LARGEST_FOR_STEM: dict[StemName, int] = {"small": 4096, "medium": 32768}
"""Most voxels of an input that a stem is for: 64 squared or 16 cubed, 181 squared or 32 cubed; large beyond. Each step
costs 4 times (2D) or 8 times (3D) less than the one before."""

BASE_WIDTH = 64
"""Planes of the first stage of which ``group_width`` counts the channels of one group (Xie et al. 2017)."""

DEFAULT_WIDTH = {4: 64, 3: 16}
"""Channels of the first stage by the number of stages (He et al. 2016, sections 4.1 and 4.2)."""

AxisStride = Annotated[int, Field(ge=1, le=2)]


class DefiniteSettings(NamedTuple):
    """What may be left to a rule, decided."""

    layout: Layout
    width: int
    stem: StemName
    strides: tuple[Stride, ...]


class ResidualSettings(BackboneSettings):
    """Settings of a residual network or its plain twin."""

    depth: AutoOrCount = Field(
        default="auto",
        description="Layers. Four stages: 10, 18, 34 (basic), 14, 26, 50, 101, 152, 200 (bottleneck). Three stages, "
        "for small images: any 6n+2 (basic: 20, 32, 44, 56, 110, ...) or 9n+2 (bottleneck: 29, 164, 1001, ...). auto "
        "takes what the plan decided from the number of training cases.",
    )
    stages: Literal["auto", 3, 4] = Field(
        default="auto", description="Stages of blocks; auto: four for a named depth, three for any other."
    )
    width: AutoOrCount = Field(
        default="auto",
        description="Channels of the first stage; each later stage doubles them. auto: 64, or 16 with three stages.",
    )
    widen: PositiveInt = Field(
        default=1, description="Wide residual networks: the blocks have this many times the channels, not the stem."
    )
    block: Literal["auto", "basic", "bottleneck"] = Field(
        default="auto",
        description="basic (two 3x3) or bottleneck (1x1, 3x3 with the stride, 1x1); auto takes basic where the depth "
        "has it.",
    )
    preactivation: bool = Field(
        default=False,
        description="Norm and relu before each convolution instead of behind it: what networks of hundreds of layers "
        "need.",
    )
    shortcut: ShortcutName = Field(
        default="B",
        description="Where shapes differ: A pads with zeros, B projects with a 1x1 convolution; C projects everywhere.",
    )
    groups: PositiveInt = Field(
        default=1, description="Groups of the 3x3 convolutions of bottleneck blocks; ResNeXt 32x4d: 32."
    )
    group_width: PositiveInt = Field(
        default=BASE_WIDTH,
        description="Channels of one group in the first stage at width 64; ResNeXt 32x4d: 4, wide ResNet-50-2: 128.",
    )
    squeeze_excitation: NonNegativeInt = Field(
        default=0,
        description="Squeeze-and-excitation: each block weighs its channels by what the whole map shows. So many times "
        "fewer hidden units than channels, 16 as a rule; 0: none.",
    )
    stem: Literal["auto"] | StemName = Field(
        default="auto",
        description="small: 3x3, keeps every voxel (28 pixels). medium: 3x3 stride 2. large: 7x7 stride 2 and max "
        "pooling (224 and 512 pixels). deep: three 3x3 instead of the 7x7 (ResNet-D). auto: small up to 4096 voxels "
        "(64 squared, 16 cubed), medium up to 32768 (32 cubed).",
    )
    average_shortcut: bool = Field(
        default=False,
        description="Projections take the mean of the voxels that a stride joins (ResNet-D) instead of one of them, "
        "which drops the others unseen.",
    )
    antialias: bool = Field(
        default=False,
        description="Blur before every downsampling but that of the first convolution (Zhang 2019), so that a shift by "
        "one voxel changes the prediction less.",
    )
    strides: Literal["auto"] | tuple[tuple[AxisStride, ...], ...] = Field(
        default="auto",
        description="Stride per axis of each downsampling, those of the stem first. auto: from the plan's spacing, "
        "fine axes first, so that thick slices are not merged early.",
    )
    norm: NormName = Field(
        default="batch",
        description="batch needs batches of some 8 cases and more; group and instance work with any; none is for "
        "studies of depth.",
    )
    residual: bool = Field(default=True, description="false gives the plain twin: the same layers, no shortcuts.")
    stochastic_depth: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Chance that a case skips the last block in training; earlier blocks less, linearly. 0.1 to 0.3 "
        "against overfitting of deep networks.",
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Dropout within each block, before its last convolution."
    )
    zero_init: bool = Field(
        default=True,
        description="Start every residual block as its shortcut (last layer of the branch 0): training begins as "
        "that of a shallow network.",
    )
    checkpointing: bool = Field(
        default=False,
        description="Keep only the input of each block and compute the rest again, where a batch does "
        "not fit into memory: far less of it, a third more time.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.block == "basic" and self._grouped:
            raise ValueError("groups and group_width need bottleneck blocks")
        if self.depth != "auto":
            find_layout(self.depth, self._kind_of_block(), self.stages)
        if self.stochastic_depth and not self.residual:
            raise ValueError("stochastic_depth needs residual: true, a plain network has no branch to drop")
        return self

    def resolved(self, depth: int, size: Sequence[int], spacing: Sequence[float] | None) -> Self:
        """See :meth:`BackboneSettings.resolved`; a depth that no layout has becomes the next smaller one."""
        changes: dict[str, object] = {}
        if self.depth == "auto":
            changes["depth"] = depth_below(depth, self._kind_of_block(), self.stages)
        if self.stem == "auto":
            fitting = (stem for stem, most in LARGEST_FOR_STEM.items() if math.prod(size) <= most)
            changes["stem"] = next(fitting, "large")
        definite = self.model_validate(self.model_dump() | changes).definite(len(size))
        changes["width"] = definite.width
        strides = definite.strides
        if self.strides == "auto":
            strides = changes["strides"] = choose_strides(size, spacing, len(strides))
        self._check_last_map(size, strides)
        return self.model_validate(self.model_dump() | changes)

    def definite(self, ndim: int) -> DefiniteSettings:
        """Decide what is still ``auto``: 18, 20, 29 or 50 layers by stages and block, the small stem, equal strides.

        Raises
        ------
        ConfigError
            If the strides do not fit the number of axes or of downsamplings.
        """
        kind = self._kind_of_block()
        depth = self.depth
        if depth == "auto":
            depth = DEFAULT_DEPTH["bottleneck" if kind == "bottleneck" else "basic"][3 if self.stages == 3 else 4]
        layout = find_layout(depth, kind, self.stages)
        width = DEFAULT_WIDTH[len(layout.blocks)] if self.width == "auto" else self.width
        stem: StemName = "small" if self.stem == "auto" else self.stem
        steps = STEM_STEPS[stem] + len(layout.blocks) - 1
        strides = ((2,) * ndim,) * steps if self.strides == "auto" else self.strides
        if len(strides) != steps or any(len(stride) != ndim for stride in strides):
            expected = f"{steps} downsamplings of {ndim} axes each"
            raise ConfigError("backbone", [f"strides: expected {expected}, got {[list(stride) for stride in strides]}"])
        return DefiniteSettings(layout, width, stem, strides)

    def _check_last_map(self, size: Sequence[int], strides: Sequence[Stride]) -> None:
        """Refuse an instance norm of maps of one voxel, which holds nothing but the offset of the norm."""
        voxels = list(size)
        for stride in strides:
            voxels = [-(-count // step) for count, step in zip(voxels, stride, strict=True)]
        if self.norm == "instance" and math.prod(voxels) == 1:
            image = " x ".join(map(str, size))
            problem = f"norm: instance has one voxel to normalise over in the last map of {image} voxels"
            remedy = "take norm: group or batch, a smaller stem or a larger plan.size"
            raise ConfigError("backbone", [f"{problem}; {remedy}"])

    @property
    def _grouped(self) -> bool:
        return (self.groups, self.group_width) != (1, BASE_WIDTH)

    def _kind_of_block(self) -> Literal["auto", "basic", "bottleneck"]:
        """Kind of block, which groups decide where it is open: only bottlenecks have them."""
        return "bottleneck" if self.block == "auto" and self._grouped else self.block
