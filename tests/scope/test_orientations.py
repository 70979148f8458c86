"""Turns of axes: their algebra, what can be told, and what cannot."""

import numpy as np
import pytest
from phantoms.bodies import body, sample
from phantoms.packages import make_plan

from pipeline.preprocessing.appearance import appearance
from pipeline.scope.orientations import (
    PENALTIES,
    Turner,
    after,
    all_turns,
    fit_folds,
    fit_orientation,
    margins_of,
    orientation_of,
    place_of,
    turned,
    words,
)


@pytest.mark.parametrize(("ndim", "count"), [(2, 7), (3, 47)])
def test_turns_are_the_symmetries_of_square_and_cube(ndim: int, count: int) -> None:
    turns = all_turns(ndim)
    image = np.arange(1, 1 + 3**ndim).reshape(1, *(3,) * ndim)
    shown = {turned(image, *turn).tobytes() for turn in turns}
    assert len(turns) == len(shown) == count and image.tobytes() not in shown
    identity = (tuple(range(ndim)), ())
    for first in turns:
        for second in turns[::3]:
            both = after(second, first)
            np.testing.assert_array_equal(turned(turned(image, *first), *second), turned(image, *both))
            assert (place_of(both) == -1) is (both == identity)


def layouts(ndim: int, numbers: range, *, either_side: bool) -> np.ndarray:
    plan = make_plan(ndim)
    bodies = [body(number, ndim, mirrored=either_side and number % 2 == 0) for number in numbers]
    return np.stack([sample(one, plan, "").scan.look.layout for one in bodies])


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("either_side", [False, True])
def test_sides_are_told_where_training_shows_one_of_them(ndim: int, either_side: bool) -> None:
    weights = fit_orientation(layouts(ndim, range(40), either_side=either_side), 1e-4)
    new = layouts(ndim, range(100, 130), either_side=either_side)
    orientation = orientation_of(weights, margins_of(weights, new))
    told = {(turn.order, turn.flipped): turn.told for turn in orientation.turns}
    straight = tuple(range(ndim))
    assert told[straight, (1,)] >= 0.95
    sides = told[straight, (0,)]
    assert sides < 0.75 if either_side else sides >= 0.95
    turner = Turner.of(orientation)
    assert ((straight, (0,)) in [(turn.order, turn.flipped) for turn in turner.turns]) is not either_side
    assert (turner.margins(new).max(axis=1) < 0).mean() >= 0.9
    upside_down = np.stack([turned(layout, straight, (1,)) for layout in new])
    assert (turner.margins(upside_down).max(axis=1) > 0).mean() >= 0.9


def test_weights_grow_where_all_images_share_a_faint_mark_and_not_on_noise() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(200, 1, 6, 6))
    mark = np.zeros((1, 6, 6))
    mark[0, 0, 4] = 3.0
    folds = np.arange(200) % 5
    assert fit_folds(noise, folds)[0] == max(PENALTIES)
    marked = fit_folds(0.1 * noise + mark, folds)[0]
    assert marked < fit_folds(noise + mark, folds)[0] < max(PENALTIES)


def test_weights_of_a_fold_are_those_that_the_other_folds_give() -> None:
    seen = layouts(2, range(40), either_side=False)
    folds = np.arange(40) % 4
    penalty, without = fit_folds(seen, folds)
    assert sorted(without) == [0, 1, 2, 3]
    for fold, weights in without.items():
        np.testing.assert_array_equal(weights, fit_orientation(seen[folds != fold], penalty))


def test_cells_beside_a_mark_count_too_for_a_patient_may_lie_half_a_cell_off() -> None:
    mark = np.zeros((1, 8, 8))
    mark[0, 5, 2] = 1.0
    weights = fit_orientation(np.repeat(mark[np.newaxis], 20, axis=0), 1e-3)[0]
    assert weights[5, 2] == weights.max()
    for beside in [(4, 2), (6, 2), (5, 1), (5, 3)]:
        assert weights[beside] > 0.2 * weights.max()
    assert weights[0, 0] == 0


def test_an_even_image_among_the_training_images_says_nothing() -> None:
    seen = layouts(2, range(20), either_side=False)
    even = np.zeros_like(seen[:1])
    alone = fit_orientation(seen, 1e-3)
    np.testing.assert_allclose(fit_orientation(np.concatenate([seen, even]), 1e-3 * 20 / 21), alone, atol=0.01)


def test_layout_turns_with_the_image() -> None:
    image = np.random.default_rng(0).normal(size=(2, 17, 17, 17)).astype(np.float32)
    for turn in all_turns(3):
        again = appearance(np.ascontiguousarray(turned(image, *turn))).layout
        np.testing.assert_allclose(again, turned(appearance(image).layout, *turn), atol=1e-9)


def test_words_name_the_axes() -> None:
    names = ("left-right", "front-back", "up-down")
    assert words((0, 1, 2), (2,), names) == "up-down reversed"
    assert words((1, 0, 2), (), names) == "left-right and front-back exchanged"
