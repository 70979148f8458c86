"""The step is clipped by the norm that the guard measured, and folded into the average, as plain code does it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from phantoms.trainings import network, train
from torch import nn
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from pipeline.training import callbacks, module, stepping
from pipeline.training.module import TrainingModule
from pipeline.training.optimizers import make_optimizer


def weights_after(folder: Path, cache: Path, **settings: Any) -> dict[str, torch.Tensor]:
    classifier = network()
    train(folder, cache, classifier=classifier, epochs=1, **settings)
    return {name: tensor.clone() for name, tensor in classifier.state_dict().items()}


def test_the_shared_norm_clips_as_lightning_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"gradient_clip": 0.05, "optimizer": "sgd", "learning_rate": 0.1}  # AdamW does not see the scale
    calls: list[float] = []

    def counted(parameters: Any, most: float, norm: torch.Tensor) -> None:
        calls.append(float(norm))
        nn.utils.clip_grads_with_norm_(parameters, most, norm)

    monkeypatch.setattr(module, "clip_grads_with_norm_", counted)
    shared = weights_after(tmp_path / "shared", tmp_path / "cache", **settings)
    assert len(calls) == 4
    assert min(calls) > 0.05
    monkeypatch.setattr(callbacks, "steps_whole_gradients", lambda trainer: False)  # as with weights in parts
    apart = weights_after(tmp_path / "apart", tmp_path / "cache", **settings)
    assert len(calls) == 4
    assert all(torch.equal(tensor, apart[name]) for name, tensor in shared.items())


def test_the_average_is_that_of_its_definition() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    averaged = AveragedModel(layer, multi_avg_fn=module._Average(0.5))
    expected = layer.weight.detach().clone()
    averaged.update_parameters(layer)
    for step in range(1, 12):
        with torch.no_grad():
            layer.weight.copy_(torch.randn(2, 3))
        averaged.update_parameters(layer)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
        torch.testing.assert_close(averaged.module.weight.detach(), expected)
    assert decay == 0.5


def test_the_fused_step_is_adamw() -> None:
    torch.manual_seed(0)
    plain, fused = nn.Linear(5, 4), nn.Linear(5, 4)
    fused.load_state_dict(plain.state_dict())
    groups: Any = [{"params": list(fused.parameters()), "weight_decay": 0.1}]
    ours = make_optimizer("adamw", groups, 0.01, 0.9, 0.99, fused=True)
    theirs = AdamW(plain.parameters(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.1, foreach=False, fused=False)
    assert ours.defaults["fused"]
    for _ in range(5):
        for layer, optimizer in ((plain, theirs), (fused, ours)):
            torch.manual_seed(1)
            optimizer.zero_grad()
            layer(torch.randn(7, 5)).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(fused.weight, plain.weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("scaled", "single", "whole"), [(False, True, True), (True, True, False), (False, False, False)]
)
def test_a_scaler_or_weights_in_parts_leave_the_gradients_to_others(scaled: bool, single: bool, whole: bool) -> None:
    class Trainer:
        precision_plugin = object.__new__(stepping.MixedPrecision)
        strategy = object.__new__(stepping.SingleDeviceStrategy if single else object)

    Trainer.precision_plugin.scaler = object() if scaled else None  # type: ignore[assignment]
    trainer: Any = Trainer()
    assert stepping.steps_whole_gradients(trainer) is whole


def test_a_training_steps_adamw_fused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    configure = TrainingModule.configure_optimizers

    def watched(self: TrainingModule) -> Any:
        made.append(configure(self))
        return made[-1]

    monkeypatch.setattr(TrainingModule, "configure_optimizers", watched)
    train(tmp_path / "run", tmp_path / "cache", epochs=1)
    assert made[0]["optimizer"].defaults["fused"]
