"""The learning rate range test: what follows from a curve, an untouched network, and a choice that is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from phantoms.spheres import FINDINGS, make_data, make_manifest, read
from phantoms.trainings import IMAGES, SEED, network

from pipeline.errors import TrainingError
from pipeline.package.package import load_package
from pipeline.stages import train as stage
from pipeline.tracking.journal import journal_path
from pipeline.training.losses import FindingsLoss
from pipeline.training.rate_finder.curve import RateCurve, choose_rate, save_curve, smooth
from pipeline.training.rate_finder.settling import LEARNING_RATE
from pipeline.training.rate_finder.sweep import find_rate
from pipeline.training.settings import TrainingSettings

RATES = np.geomspace(1e-6, 1.0, 200).tolist()


def valley(fastest: float, back: float) -> list[float]:
    """A loss that falls from 1 to 0.3 around one rate, and is back at 1 at another."""
    decades = np.log10(RATES)
    fall = 0.7 / (1 + np.exp(-4 * (decades - np.log10(fastest))))
    return list(1.0 - fall + 0.7 * np.exp(6 * (decades - np.log10(back))))


def test_smoothing_is_a_weighted_mean_from_the_first_step_on() -> None:
    losses = np.random.default_rng(0).random(50)
    np.testing.assert_allclose(smooth(losses), pd.Series(losses).ewm(alpha=0.1).mean())


def test_rates_are_chosen_from_the_curve() -> None:
    losses = valley(fastest=1e-3, back=0.2)
    curve = choose_rate(RATES, losses, "steepest")
    assert 1e-3 / 1.3 < curve.steepest < 1e-3 * 1.3
    assert 0.1 < curve.below_divergence * 10 <= 0.2  # early rather than late
    assert curve.diverged and curve.chosen == curve.steepest
    assert choose_rate(RATES, losses, "below_divergence").chosen == curve.below_divergence


def test_a_loss_that_holds_to_the_end_says_so() -> None:
    curve = choose_rate(RATES, valley(fastest=1e-3, back=1e9), "below_divergence")
    assert not curve.diverged and curve.chosen == pytest.approx(0.1)
    assert "the loss still held at 1.00e+00" in curve.note


@pytest.mark.parametrize("losses", [[1.0] * 200, [1.0 + 0.01 * n for n in range(200)], [], [1.0] * 5])
def test_a_loss_that_never_falls_gives_no_rate(losses: list[float]) -> None:
    with pytest.raises(TrainingError, match="No learning rate was found"):
        choose_rate(RATES, losses, "steepest")


def test_the_curve_is_drawn_and_tabled(tmp_path: Path) -> None:
    curve = choose_rate(RATES, valley(fastest=1e-3, back=0.2), "steepest")
    table, picture = save_curve(tmp_path, curve)
    rows = pd.read_csv(table)
    np.testing.assert_allclose(rows["loss"], curve.losses, rtol=1e-5)
    assert picture.read_bytes().startswith(b"\x89PNG")


def look(cache: Path, classifier: Any, **changes: Any) -> RateCurve:
    settings = TrainingSettings.model_validate(
        {"rate_finder": {"enabled": True, "steps": 40, "lowest": 1e-4}, "weight_decay": 0.0} | changes
    )
    loader = make_data(cache, IMAGES, ndim=2, seed=SEED).train_dataloader()
    return find_rate(classifier, FindingsLoss(FINDINGS), loader, settings, device=torch.device("cpu"), seed=1)


def test_a_test_repeats_and_leaves_network_and_chance_as_they_were(tmp_path: Path) -> None:
    classifier, fresh = network(), network()
    state, mode = torch.get_rng_state(), classifier.training
    curve = look(tmp_path, classifier)
    assert torch.equal(torch.get_rng_state(), state) and classifier.training == mode
    for name, tensor in classifier.state_dict().items():
        assert torch.equal(tensor, fresh.state_dict()[name])
    assert look(tmp_path, classifier) == curve
    np.testing.assert_allclose(np.diff(np.log(curve.rates)), np.log(1e4) / 39)
    assert 1e-4 < curve.chosen < 1.0
    first = next(iter(make_data(tmp_path, IMAGES, ndim=2, seed=SEED).train_dataloader()))
    expected = FindingsLoss(FINDINGS)(fresh.train()(first.image), first.label)
    assert curve.losses[0] == pytest.approx(float(expected))


def test_the_loss_goes_to_the_device_too_and_that_of_training_stays(tmp_path: Path, monkeypatch: Any) -> None:
    """Its class weights are tensors: beside logits on a GPU they must lie there."""
    moved: list[torch.nn.Module] = []
    original = FindingsLoss.to
    monkeypatch.setattr(FindingsLoss, "to", lambda self, *given: moved.append(self) or original(self, *given))
    look(tmp_path, network())
    assert len(moved) == 1


def test_steps_are_those_of_the_optimizer_of_training(tmp_path: Path) -> None:
    """The second loss is that behind one plain step at the first rate; what is frozen made none."""
    settings = {"optimizer": "sgd", "momentum": 0.0, "gradient_clip": 0.0, "finetune": {"frozen": ["stem", "stage1"]}}
    finder = {"enabled": True, "steps": 40, "lowest": 0.05, "highest": 0.6}
    curve = look(tmp_path, network(norm="group"), rate_finder=finder, **settings)
    own, loss = network(norm="group"), FindingsLoss(FINDINGS)
    batches = iter(make_data(tmp_path, IMAGES, ndim=2, seed=SEED).train_dataloader())
    first, second = next(batches), next(batches)
    loss(own(first.image), first.label).backward()
    with torch.no_grad():
        for name, parameter in own.named_parameters():
            if not name.startswith(("backbone.stem", "backbone.stages.0")):
                parameter -= 0.05 * parameter.grad
        assert curve.losses[1] == pytest.approx(float(loss(own(second.image), second.label)), rel=1e-5)


def test_a_run_looks_once_and_trains_at_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finder = {"enabled": True, "steps": 40, "lowest": 1e-4}
    config = stage.Config.from_mapping(
        {
            "manifest": "cohort.csv",
            "out": str(tmp_path / "run"),
            "processes": 0,
            "network": {"backbone": {"kind": "resnet", "depth": 8, "width": 4}},
            "plan": {"precision": "32", "batch_size": 8},
            "training": {
                "epochs": 1,
                "accelerator": "cpu",
                "warmup_epochs": 0,
                "schedule": {"kind": "constant"},
                "rate_finder": finder,
                "depth_watch": {"enabled": False},
            },
            "tracking": {"enabled": False, "system_seconds": 0},
        }
    )
    manifest = make_manifest(train=32, validation=16, ndim=2)
    stage.train(config, manifest, read)
    curve = RateCurve.model_validate_json((tmp_path / "run" / LEARNING_RATE).read_bytes())
    assert (tmp_path / "run" / "learning_rate.png").is_file() and (tmp_path / "run" / "learning_rate.csv").is_file()
    assert curve.note in load_package(tmp_path / "run" / "package").card.notes
    text = journal_path(tmp_path / "run").read_text()
    assert f'"learning_rate":{curve.chosen}' in text and "found learning rate" in text

    def again(*_: object, **__: object) -> RateCurve:
        raise AssertionError("it was found already")

    monkeypatch.setattr(stage, "find_rate", again)
    (tmp_path / "run" / "checkpoints" / "fitted.json").unlink()
    stage.train(config, manifest, read)


def test_limits_must_leave_room() -> None:
    with pytest.raises(ValueError, match="must be ten times lowest"):
        TrainingSettings.model_validate({"rate_finder": {"lowest": 0.1, "highest": 0.5}})
