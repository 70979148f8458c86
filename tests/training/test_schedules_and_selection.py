import copy
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from pipeline.domain.encoding import class_probabilities
from pipeline.domain.finding import Finding, FindingKind
from pipeline.training.schedules import Constant, WarmupCosine
from pipeline.training.selection import aurocs, has_auroc, selection_score
from pipeline.training.settings import TrainingSettings
from pipeline.training.stepwise_rate import StepwiseRate, make_schedule, make_scheduler

ORGAN = Finding(name="organ", kind=FindingKind.MULTICLASS, classes=("liver", "kidney", "spleen"))
LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")


def test_schedule_rises_to_one_and_ends_at_its_final_share() -> None:
    rate = WarmupCosine(warmup=4, total=20, final=0.1)
    assert [rate(step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rate(19) == pytest.approx(0.1)
    middle = 4 + (20 - 1 - 4) / 2
    assert (rate(int(middle)) + rate(int(middle) + 1)) / 2 == pytest.approx(0.55, abs=0.01)
    assert rate(500) == pytest.approx(0.1)
    values = [rate(step) for step in range(4, 20)]
    assert values == sorted(values, reverse=True)


def test_schedule_without_warmup_starts_at_one() -> None:
    assert WarmupCosine(warmup=0, total=1, final=0.0)(0) == 1.0


def settings(kind: str, epochs: int = 10, **schedule: object) -> TrainingSettings:
    chosen = {"epochs": epochs, "warmup_epochs": 0, "schedule": {"kind": kind} | schedule}
    return TrainingSettings.model_validate(chosen)


def optimizer(name: str = "sgd") -> torch.optim.Optimizer:
    weights = [torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))]
    groups: list[dict[str, Any]] = [{"params": [weights[0]]}, {"params": [weights[1]], "lr": 0.02}]
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=0.1)
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def walk(made: torch.optim.Optimizer, scheduler: Any, steps: int) -> list[list[float]]:
    """Rate and momentum of each group at each step."""
    course = []
    for number in range(steps):
        groups = made.param_groups
        course.append([group["lr"] for group in groups])
        course[-1] += [group["betas"][0] if "betas" in group else group["momentum"] for group in groups]
        made.step()
        if number < steps - 1:
            scheduler.step()
    return course


@pytest.mark.parametrize("name", ["sgd", "adamw"])
@pytest.mark.parametrize("momentum", [True, False])
def test_one_cycle_is_that_of_torch(name: str, momentum: bool) -> None:
    chosen = settings("one_cycle", rise=0.25, start_divisor=10.0, final_divisor=100.0, cycle_momentum=momentum)
    ours, theirs = optimizer(name), optimizer(name)
    scheduler = make_scheduler(ours, chosen, steps=4, starts=[0, 0])
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        theirs,
        [0.1, 0.02],
        total_steps=40,
        pct_start=0.25,
        div_factor=10.0,
        final_div_factor=100.0,
        cycle_momentum=momentum,
    )
    np.testing.assert_allclose(walk(ours, scheduler, 40), walk(theirs, cycle, 40), rtol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_one_cycle_of_few_steps_stays_within_its_bounds(steps: int) -> None:
    rate = make_schedule(settings("one_cycle", epochs=1), steps)
    assert all(0 < rate(step) <= 1 for step in range(steps + 2))


@pytest.mark.parametrize(
    ("chosen", "theirs"),
    [
        ({"drop_at": [3, 7.5]}, lambda made: torch.optim.lr_scheduler.MultiStepLR(made, [12, 30], gamma=0.1)),
        ({"drop_every": 2, "factor": 0.5}, lambda made: torch.optim.lr_scheduler.StepLR(made, 8, gamma=0.5)),
    ],
)
def test_steps_are_those_of_torch(chosen: dict[str, Any], theirs: Any) -> None:
    ours, other = optimizer(), optimizer()
    course = walk(ours, make_scheduler(ours, settings("step", **chosen), steps=4, starts=[0, 0]), 40)
    np.testing.assert_allclose(course, walk(other, theirs(other), 40), rtol=1e-9)


def test_steps_must_be_told_when() -> None:
    for wrong in ({}, {"drop_every": 2, "drop_at": [3]}):
        with pytest.raises(ValidationError, match="either drop_every or drop_at"):
            settings("step", **wrong)


def judge(scheduler: StepwiseRate, made: torch.optim.Optimizer, scores: list[float]) -> list[float]:
    """Rate of the second group after each epoch of two steps."""
    found = []
    for score in scores:
        for _ in range(2):
            made.step()
            scheduler.step()
        scheduler.judge(score)
        found.append(made.param_groups[1]["lr"])
    return found


def test_plateau_is_that_of_torch_and_goes_on_from_its_state() -> None:
    rng = np.random.default_rng(3)
    scores = [float(score) for score in np.minimum(0.6 + 0.02 * np.arange(40), 0.8) + rng.normal(0, 0.005, 40)]
    scores += [0.9] + [0.2] * 12
    chosen = settings("plateau", epochs=60, factor=0.3, patience=3, least_gain=0.002, least_rate=0.01)
    ours, theirs = optimizer(), optimizer()
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        theirs, "max", factor=0.3, patience=3, threshold=0.002, threshold_mode="abs", min_lr=[0.001, 0.0002]
    )
    expected = []
    for score in scores:
        plateau.step(score)
        expected.append(theirs.param_groups[1]["lr"])
    scheduler = make_scheduler(ours, chosen, steps=2, starts=[0, 0])
    found = judge(scheduler, ours, scores[:23])
    state, groups = copy.deepcopy(scheduler.state_dict()), copy.deepcopy(ours.state_dict())
    other = optimizer()
    resumed = make_scheduler(other, chosen, steps=2, starts=[0, 0])
    other.load_state_dict(groups)
    resumed.load_state_dict(state)
    found += judge(resumed, other, scores[23:])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert len(set(found)) == 5 and resumed.get_last_lr()[1] == found[-1]


def test_a_plateau_in_a_loss_counts_gains_of_negative_scores() -> None:
    made = optimizer()
    scheduler = make_scheduler(made, settings("plateau", patience=0, factor=0.5), steps=2, starts=[0, 0])
    found = judge(scheduler, made, [-0.9, -0.8, -0.8, -0.7])
    assert found == pytest.approx([0.02, 0.02, 0.01, 0.01])


@pytest.mark.parametrize("kind", ["cosine", "one_cycle", "plateau", "step", "constant"])
def test_weights_that_thaw_later_stand_still_then_rise_to_the_curve(kind: str) -> None:
    chosen = settings(kind, drop_at=[8] if kind == "step" else []).model_copy(update={"warmup_epochs": 1.0})
    early, late = make_schedule(chosen, steps=4), make_schedule(chosen, steps=4, start=20)
    assert [late(step) for step in range(20)] == [0.0] * 20
    assert 0 < late(20) <= early(20)
    if kind != "one_cycle":  # whose rise is longer than what is left
        assert late(20) == pytest.approx(min(0.25, early(20)))
        assert [late(step) for step in range(24, 40)] == [early(step) for step in range(24, 40)]


def test_constant_rises_and_stays() -> None:
    rate = Constant(warmup=4)
    assert [rate(step) for step in (0, 1, 3, 4, 900)] == [0.25, 0.5, 1.0, 1.0, 1.0]


def test_auroc_agrees_with_scikit_learn_and_leaves_unknown_out() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 4)), rng.integers(-1, 3, (60, 1))
    lesion = np.where(labels == 2, -1, labels)
    found = aurocs([LESION, ORGAN], logits, np.concatenate([lesion, labels], axis=1))
    known = labels[:, 0] >= 0
    chance = class_probabilities(ORGAN, logits[:, 1:])
    expected = roc_auc_score(labels[known, 0], chance[known], multi_class="ovr", average="macro")
    assert found["organ"] == pytest.approx(expected)
    known = lesion[:, 0] >= 0
    assert found["lesion"] == pytest.approx(roc_auc_score(lesion[known, 0], logits[known, 0]))


def test_auroc_needs_both_classes() -> None:
    assert not has_auroc([LESION], np.array([[1], [1], [-1]]))
    assert not has_auroc([LESION], np.empty((0, 1), dtype=np.int64))
    assert has_auroc([LESION], np.array([[1], [0], [-1]]))


def test_equal_aurocs_are_decided_by_the_loss_and_only_equal_ones() -> None:
    assert selection_score(0.2, 0.9) > selection_score(0.3, 0.9)
    assert selection_score(9.0, 0.9005) > selection_score(0.1, 0.9)
    assert selection_score(0.2, None) > selection_score(0.3, None)
