"""What a network is, read off the names and shapes of its tensors; and why two of them do not fit."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from pipeline.backbones.layouts import Layout
from pipeline.backbones.options import BlockName
from pipeline.backbones.residual_settings import BASE_WIDTH

Norm = Literal["batch", "group", "none"]


@dataclass(frozen=True)
class Architecture:
    """A residual network as its tensors tell it; strides and pooling leave no trace in them.

    Attributes
    ----------
    blocks : tuple of int
        Of each stage.
    stem : str
        ``3x3``, ``7x7``, ``deep`` or, where it has none, ``no``.
    inner : tuple of int
        Channels and channels of a group of the 3x3 convolution of the first block.
    projected : frozenset of str
        Blocks whose shortcut is a convolution.
    norm : {"batch", "group", "none"}
        ``group`` stands for every norm that keeps no statistics.
    """

    ndim: int
    block: BlockName
    blocks: tuple[int, ...]
    stem: str
    width: int
    inner: tuple[int, int]
    projected: frozenset[str]
    preactivation: bool
    norm: Norm
    excitation: bool

    @property
    def depth(self) -> int:
        """See :attr:`pipeline.backbones.layouts.Layout.depth`."""
        return Layout(self.block, self.blocks).depth


def describe(trunk: Mapping[str, Tensor]) -> Architecture:
    """Read the architecture off the state of a network under our names, e.g. ``stages.0.0.conv1.weight``."""
    found = [match for name in trunk if (match := re.match(r"stages\.(\d+)\.(\d+)\.(\w+)", name))]
    places = {(int(match[1]), int(match[2])) for match in found if match[3] != "norm"}
    stages = 1 + max((stage for stage, _ in places), default=-1)
    parts = {match[3] for match in found}
    kernel = trunk.get("stages.0.0.conv2.weight")
    first = trunk["stages.0.0.conv1.weight"]
    block: BlockName = "bottleneck" if "conv3" in parts else "basic"
    return Architecture(
        ndim=first.ndim - 2,
        block=block,
        blocks=tuple(sum(place[0] == stage for place in places) for stage in range(stages)),
        stem=_stem(trunk),
        width=first.shape[1],
        inner=(first.shape[0], kernel.shape[1] if kernel is not None else 0),
        projected=frozenset(name.split(".shortcut")[0] for name in trunk if name.endswith(".shortcut.conv.weight")),
        preactivation="activation" in parts,
        norm=_norm(trunk, parts),
        excitation="excite" in parts,
    )


def _stem(trunk: Mapping[str, Tensor]) -> str:
    if "stem.conv.conv1.weight" in trunk:
        return "deep"
    kernel = trunk.get("stem.conv.weight")
    return f"{kernel.shape[-1]}x{kernel.shape[-1]}" if kernel is not None else "no"


def _norm(trunk: Mapping[str, Tensor], parts: set[str]) -> Norm:
    if any(name.endswith(".running_mean") for name in trunk):
        return "batch"
    return "group" if parts & {"norm1", "norm2"} else "none"


def causes(file: Architecture, ours: Architecture) -> Iterator[tuple[str, str]]:
    """Yield why the weights do not fit, the likeliest first, each with what to set."""
    if file.ndim > ours.ndim:
        yield "the weights are of a 3D network and yours is 2D", "use 2D weights, or a 3D plan"
    if (file.block, file.blocks) != (ours.block, ours.blocks):
        yield f"depth: the weights have {_layers(file)}, yours {_layers(ours)}", _depth_setting(file)
    if file.stem != ours.stem:
        yield (
            f"stem: the weights have a {file.stem} stem, yours is {ours.stem}",
            f"set network.backbone.stem: {_stem_setting(file.stem)}, or leave it fresh: pretrained.fresh: [stem]",
        )
    if file.preactivation != ours.preactivation:
        yield (
            f"the weights are of {'' if file.preactivation else 'no '}pre-activation blocks",
            f"set network.backbone.preactivation: {str(file.preactivation).lower()}",
        )
    if file.blocks == ours.blocks and file.projected != ours.projected:
        yield (
            f"shortcut: {len(file.projected)} blocks of the weights project with a convolution, "
            f"{len(ours.projected)} of yours do",
            f"set network.backbone.shortcut: {_shortcut_setting(file)}",
        )
    if file.block == ours.block and (file.width, file.inner) != (ours.width, ours.inner):
        yield (
            f"width: the weights start with {file.width} channels and blocks of {file.inner[0]} (groups of "
            f"{file.inner[1]}), yours with {ours.width} and {ours.inner[0]} (groups of {ours.inner[1]})",
            _width_setting(file),
        )
    if file.norm != ours.norm:
        yield (
            f"norm: that of the weights is {_norm_words(file.norm)}, yours {_norm_words(ours.norm)}",
            f"set network.backbone.norm: {file.norm}",
        )
    if file.excitation != ours.excitation:
        yield (
            f"squeeze-and-excitation: the weights have {'it' if file.excitation else 'none'}",
            f"set network.backbone.squeeze_excitation: {16 if file.excitation else 0}",
        )


def _layers(network: Architecture) -> str:
    return f"{network.depth} layers ({', '.join(map(str, network.blocks))} {network.block} blocks)"


def _depth_setting(file: Architecture) -> str:
    return f"set network.backbone.depth: {file.depth}, block: {file.block}, stages: {len(file.blocks)}"


def _stem_setting(stem: str) -> str:
    return {"3x3": "small or medium", "7x7": "large"}.get(stem, stem)


def _shortcut_setting(file: Architecture) -> str:
    if not file.projected:
        return "A"
    return "C" if len(file.projected) == sum(file.blocks) else "B"


def _width_setting(file: Architecture) -> str:
    channels, of_group = file.inner
    if file.block == "basic" or not of_group:
        return f"set network.backbone.width: {file.width}"
    groups = channels // of_group
    group_width = of_group * BASE_WIDTH // file.width
    return f"set network.backbone.width: {file.width}, groups: {groups}, group_width: {group_width}"


def _norm_words(norm: Norm) -> str:
    return {"batch": "batch norm", "group": "a norm without statistics", "none": "none"}[norm]
