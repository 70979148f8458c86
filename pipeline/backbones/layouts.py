"""How many blocks of which kind make a network of a given depth (He et al. 2015, 2016)."""

from typing import Literal, NamedTuple

from pipeline.backbones.options import BlockName

FOUR_STAGES: dict[BlockName, dict[int, tuple[int, ...]]] = {
    "basic": {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3)},
    "bottleneck": {
        14: (1, 1, 1, 1),
        26: (2, 2, 2, 2),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
        152: (3, 8, 36, 3),
        200: (3, 24, 36, 3),
    },
}
"""The named networks: blocks a stage by depth."""

LAYERS_OF_BLOCK: dict[BlockName, int] = {"basic": 2, "bottleneck": 3}

THREE_STAGES = 3
"""Stages of the networks for small images, of 6n+2 (basic) or 9n+2 (bottleneck) layers: n blocks a stage, a stem and
a head."""

DEFAULT_DEPTH: dict[BlockName, dict[int, int]] = {"basic": {4: 18, 3: 20}, "bottleneck": {4: 50, 3: 29}}


class Layout(NamedTuple):
    """Kind of block and number of blocks of each stage."""

    block: BlockName
    blocks: tuple[int, ...]

    @property
    def depth(self) -> int:
        """Layers with weights on the longest way: stem, convolutions of the blocks, head."""
        return LAYERS_OF_BLOCK[self.block] * sum(self.blocks) + 2


def find_layout(
    depth: int, block: Literal["auto", "basic", "bottleneck"], stages: Literal["auto", 3, 4] = "auto"
) -> Layout:
    """Layout of a depth.

    Left to itself (``auto``), a named depth has four stages and any other three; three stages are basic where the
    depth is 6n+2 and bottleneck where it is only 9n+2.

    Raises
    ------
    ValueError
        If no layout has this depth; the message names the nearest that do.
    """
    kinds: tuple[BlockName, ...] = ("basic", "bottleneck") if block == "auto" else (block,)
    if stages in ("auto", 4):
        for kind in kinds:
            if depth in FOUR_STAGES[kind]:
                return Layout(kind, FOUR_STAGES[kind][depth])
    if stages in ("auto", 3):
        for kind in kinds:
            count, rest = divmod(depth - 2, LAYERS_OF_BLOCK[kind] * THREE_STAGES)
            if count > 0 and not rest:
                return Layout(kind, (count,) * THREE_STAGES)
    raise ValueError(_no_layout(depth, kinds, stages))


def depth_below(depth: int, block: Literal["auto", "basic", "bottleneck"], stages: Literal["auto", 3, 4]) -> int:
    """Largest depth up to the given one that has a layout, else the smallest there is."""
    kinds: tuple[BlockName, ...] = ("basic", "bottleneck") if block == "auto" else (block,)
    if stages == THREE_STAGES:
        steps = [LAYERS_OF_BLOCK[kind] * THREE_STAGES for kind in kinds]
        return max(2 + step * max(1, (depth - 2) // step) for step in steps)
    known = [named for kind in kinds for named in FOUR_STAGES[kind]]
    return max((named for named in known if named <= depth), default=min(known))


def _no_layout(depth: int, kinds: tuple[BlockName, ...], stages: Literal["auto", 3, 4]) -> str:
    ways = []
    for kind in kinds:
        step = LAYERS_OF_BLOCK[kind] * THREE_STAGES
        if stages in ("auto", 4):
            ways.append(f"{kind}: {', '.join(map(str, FOUR_STAGES[kind]))}")
        if stages in ("auto", 3):
            below = 2 + step * max(1, (depth - 2) // step)
            ways.append(f"{kind} of three stages: {step}n+2, the nearest {below} or {below + step}")
    return f"no network has {depth} layers; expected one of {'; '.join(ways)}"
