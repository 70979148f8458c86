"""A network learns by how much its images were turned, as drawn, and nothing of it is left in what comes out."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from phantoms.spheres import make_data, read
from phantoms.trainings import IMAGES, Memory, network, train

from pipeline.data.settings import AugmentationSettings
from pipeline.domain.case import Case
from pipeline.domain.plan import Plan
from pipeline.domain.volume import Volume
from pipeline.errors import TrainingError
from pipeline.training.auxiliary_settings import AuxiliarySettings
from pipeline.training.checkpoints import load_weights
from pipeline.training.turns import QUARTERS, Turns, check_turnable, quarters

CASES = [f"C{number}" for number in range(8)]
TURNS = AuxiliarySettings(turns=0.5)


def test_what_is_drawn_follows_from_seed_epoch_and_case_and_is_even() -> None:
    drawn = Counter(quarters(seed, epoch, case) for seed in range(5) for epoch in range(100) for case in CASES)
    assert set(drawn) == set(range(QUARTERS))
    assert all(abs(count - 1000) < 100 for count in drawn.values()), "3.7 standard deviations"
    assert [quarters(3, 1, case) for case in CASES] == [quarters(3, 1, case) for case in CASES]


@pytest.mark.parametrize("space", [(5, 5), (5, 5, 3)])
def test_images_are_turned_from_the_first_axis_to_the_second(space: tuple[int, ...]) -> None:
    images = torch.arange(8 * 2 * math.prod(space), dtype=torch.float32).reshape(8, 2, *space)
    before = images.clone()
    turned = Turns(TURNS, 4, seed=1).turned(images, CASES, epoch=2)
    for image, was, case in zip(turned.numpy(), before.numpy(), CASES, strict=True):
        np.testing.assert_array_equal(image, np.rot90(was, quarters(1, 2, case), axes=(1, 2)))
    assert torch.equal(images, before)


def test_the_loss_is_the_cross_entropy_of_the_drawn_turns() -> None:
    turns = Turns(TURNS, 3, seed=0)
    features = torch.randn(8, 3, requires_grad=True)
    assert turns(features, CASES, 0).item() == pytest.approx(8 * math.log(QUARTERS)), "it begins with knowing nothing"
    turns.head.weight.data.copy_(torch.randn(QUARTERS, 3))
    shares = (features @ turns.head.weight.T).softmax(dim=1).detach()
    by_hand = -sum(math.log(shares[row, quarters(0, 5, case)]) for row, case in enumerate(CASES))
    assert turns(features, CASES, 5).item() == pytest.approx(by_hand, rel=1e-5)


def towards_the_first_axis(case: Case) -> Volume:
    volume = read(case)
    ramp = np.linspace(-100, 100, volume.voxels.shape[1], dtype=np.float32)[None, :, None, None]
    return replace(volume, voxels=volume.voxels / 4 + ramp)


def test_turns_are_learned_and_leave_no_trace_in_the_weights(tmp_path: Path) -> None:
    still = {"augmentation": AugmentationSettings(shift=0), "reader": towards_the_first_axis}
    data = make_data(tmp_path / "cache", IMAGES, ndim=2, **still)
    journal = Memory()
    chosen = {"auxiliary": {"turns": 1.0}, "learning_rate": 0.02}
    fitted = train(tmp_path / "run", tmp_path, data=data, journal=journal, epochs=20, **chosen)
    wrong = [entry["train/turns"] for entry in fitted.history]
    assert wrong[0] == pytest.approx(math.log(QUARTERS), rel=0.1)
    assert wrong[-1] < 0.5 * wrong[0]
    assert journal.having("train/turns")[20]["train/turns"] == wrong[-1]
    assert load_weights(tmp_path / "run" / "checkpoints" / "last.ckpt").keys() == network().state_dict().keys()


def test_turns_that_cannot_be_made_or_told_are_refused() -> None:
    unequal, square = Plan.model_construct(size=(24, 32, 16)), Plan.model_construct(size=(24, 24, 16))
    with pytest.raises(TrainingError, match="images of 24 x 32 x 16 cannot be turned by a quarter"):
        check_turnable(TURNS, unequal, (0,))
    with pytest.raises(TrainingError, match="looks as if turned by a half"):
        check_turnable(TURNS, square, (0, 1))
    check_turnable(TURNS, square, (1, 2))
    check_turnable(AuxiliarySettings(), unequal, (0, 1))
