"""What is not finite stops a run and is never kept: losses, gradients under a scaler, scores, weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from phantoms.trainings import network, train
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import Tensor

from pipeline.errors import TrainingError
from pipeline.networks.classifier import Classifier
from pipeline.training import callbacks, fitting, module
from pipeline.training.checkpoints import SealedCheckpointIO, load_checkpoint


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train with float16 and a gradient scaler, which Lightning does on a GPU only."""
    original = fitting.make_trainer

    def make(*args: Any, **kwargs: Any) -> Any:
        trainer = original(*args, **kwargs)
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
        monkeypatch.setattr(trainer.strategy, "_precision_plugin", plugin)
        return trainer

    monkeypatch.setattr(fitting, "make_trainer", make)


def overflowing(steps: int) -> Classifier:
    """A network of which one weight has an infinite gradient in its first backward passes."""
    classifier, left = network(), [steps]

    def overflow(gradient: Tensor) -> Tensor:
        left[0] -= 1
        return gradient * float("inf") if left[0] >= 0 else gradient

    classifier.backbone.stem.conv.weight.register_hook(overflow)
    return classifier


def test_a_scaler_may_skip_steps(scaled: None, cache: Path, tmp_path: Path) -> None:
    fitted = train(tmp_path, cache, classifier=overflowing(3), epochs=1)
    assert len(fitted.history) == 1
    state = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert state["MixedPrecision"]["scale"] == 2.0**13  # a run that goes on begins with it


def test_a_scaler_that_skips_without_end_is_stopped(
    scaled: None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "SKIPPED_STEPS", 6)
    with pytest.raises(
        TrainingError, match=r"Epoch 2, step 6: .*stem.conv.weight.*6 steps in a row; cases .*: C\d"
    ) as e:
        train(tmp_path, cache, classifier=overflowing(100), epochs=9)
    assert "plan.precision=32" in e.value.remedy


def test_a_gradient_that_is_not_finite_names_the_cases_of_all_accumulated_batches(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"Epoch 1, step 1: the gradient of ") as error:
        train(tmp_path, cache, classifier=overflowing(1), accumulate=2)
    assert error.value.message.count("C") - error.value.message.count("CT") == 16
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


def test_a_score_that_is_not_a_number_stops_the_run_and_is_kept_nowhere(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, epochs = module.selection_score, [0]

    def poisoned(*args: Any) -> float:
        epochs[0] += 1
        return float("nan") if epochs[0] == 2 else original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(module, "selection_score", poisoned)
        with pytest.raises(TrainingError, match=r"Validation in epoch 2: the score .* is nan \(loss "):
            train(tmp_path, cache, epochs=2)
    for name in ("best.ckpt", "last.ckpt"):
        assert load_checkpoint(tmp_path / "checkpoints" / name)["epoch"] == 0
    assert len(train(tmp_path, cache, epochs=2).history) == 2  # once the cause is mended the same command goes on


def test_no_checkpoint_holds_a_weight_that_is_not_finite(tmp_path: Path) -> None:
    state = {"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")])}
    with pytest.raises(TrainingError, match=r"Epoch 3, step 7: b is not finite"):
        SealedCheckpointIO().save_checkpoint({"epoch": 2, "global_step": 7, "state_dict": state}, tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())
