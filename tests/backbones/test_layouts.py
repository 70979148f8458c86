"""Depth to blocks, against the networks of the papers."""

import pytest

from pipeline.backbones.layouts import depth_below, find_layout


@pytest.mark.parametrize(
    ("depth", "block", "blocks"),
    [
        (20, "basic", (3, 3, 3)),
        (56, "basic", (9, 9, 9)),
        (110, "basic", (18, 18, 18)),
        (1202, "basic", (200, 200, 200)),
        (164, "basic", (27, 27, 27)),
        (29, "bottleneck", (3, 3, 3)),
        (1001, "bottleneck", (111, 111, 111)),
        (34, "basic", (3, 4, 6, 3)),
        (200, "bottleneck", (3, 24, 36, 3)),
    ],
)
def test_layouts_of_the_papers(depth: int, block: str, blocks: tuple[int, ...]) -> None:
    layout = find_layout(depth, "auto")
    assert (layout.block, layout.blocks, layout.depth) == (block, blocks, depth)


def test_block_and_stages_choose_between_layouts_of_one_depth() -> None:
    assert find_layout(164, "bottleneck").blocks == (18, 18, 18)
    assert find_layout(50, "auto").blocks == (3, 4, 6, 3)
    assert find_layout(50, "auto", 3) == ("basic", (8, 8, 8))
    assert find_layout(200, "bottleneck", 3).blocks == (22, 22, 22)


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 7, 19, 100, 1000])
def test_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"no network has {depth} layers"):
        find_layout(depth, "auto")


def test_refusal_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="9n\\+2, the nearest 992 or 1001"):
        find_layout(1000, "bottleneck")


@pytest.mark.parametrize(
    ("depth", "block", "stages", "expected"),
    [
        (18, "auto", "auto", 18),
        (33, "auto", 4, 26),
        (5, "auto", "auto", 10),
        (49, "bottleneck", 4, 26),
        (60, "basic", 3, 56),
    ],
)
def test_largest_depth_below(depth: int, block: str, stages: int | str, expected: int) -> None:
    assert depth_below(depth, block, stages) == expected  # type: ignore[arg-type] # from a table


@pytest.mark.parametrize("block", ["auto", "basic", "bottleneck"])
@pytest.mark.parametrize("stages", ["auto", 3, 4])
def test_what_is_left_to_a_rule_has_a_layout(block: str, stages: int | str) -> None:
    for depth in (1, 10, 18, 34, 50, 300):
        chosen = depth_below(depth, block, stages)  # type: ignore[arg-type] # from a table
        layout = find_layout(chosen, block, stages)  # type: ignore[arg-type] # from a table
        assert layout.depth == chosen
        assert block in ("auto", layout.block)
        assert len(layout.blocks) == (3 if stages == 3 else 4)
