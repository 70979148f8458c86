"""Training learns, stops in order, goes on exactly, and lets nothing that is not finite in."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from phantoms.spheres import FINDINGS, make_data, make_manifest
from phantoms.trainings import same
from pydantic import ValidationError

from pipeline.domain.case import Split
from pipeline.domain.encoding import encode_labels
from pipeline.domain.journal import NullJournal
from pipeline.domain.manifest import Manifest
from pipeline.errors import StoppedBySignal, TrainingError
from pipeline.networks.classifier import build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.training.checkpoints import load_checkpoint, load_weights
from pipeline.training.fitting import FITTED, Fitted, fit
from pipeline.training.module import TrainingModule
from pipeline.training.precision import PrecisionChoice
from pipeline.training.settings import TrainingSettings

NETWORK = NetworkSettings.from_mapping(
    {"backbone": {"kind": "resnet", "depth": 10, "width": 8, "stochastic_depth": 0.2}, "dropout": 0.2}
)
SETTINGS = {"epochs": 4, "warmup_epochs": 1, "learning_rate": 3e-3, "accelerator": "cpu"}
MANIFEST = make_manifest()


class Memory(NullJournal):
    """A journal in memory."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.rows.append({"step": step, **values})


def run(
    folder: Path,
    cache: Path,
    *,
    journal: Memory | None = None,
    data: Any = None,
    manifest: Manifest = MANIFEST,
    network: NetworkSettings = NETWORK,
    **settings: object,
) -> Fitted:
    torch.manual_seed(5)
    classifier = build_classifier(network, FINDINGS, 3, 1)
    labels = {split: encode_labels(manifest.of(split), FINDINGS) for split in Split}
    return fit(
        classifier,
        data or make_data(cache, manifest, seed=5),
        TrainingSettings.model_validate(SETTINGS | settings),
        labels=labels,
        folder=folder,
        precision=PrecisionChoice(reason="test"),
        journal=journal or Memory(),
        seed=5,
    )


def interrupt(data: Any, batch: int, how: Callable[[], None]) -> None:
    """Let `how` happen while the n-th training batch is read."""
    dataset, left = data.datasets[Split.TRAIN], [batch]

    class Interrupted(dataset.__class__):  # type: ignore[misc, name-defined]
        def __getitems__(self, visits: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                how()
            return super().__getitems__(visits)

    dataset.__class__ = Interrupted


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def crash() -> None:
    raise OSError("the disk went away")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, Fitted]:
    """An uninterrupted run with everything that has a state."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder, cache, ema_decay=0.9, early_stopping=4)


@pytest.mark.parametrize(
    ("batches", "where"),
    [([6], "in the validation of epoch 2"), ([8, 3], "in epoch")],
    ids=["end of epoch", "within epochs, twice"],
)
def test_a_run_stopped_by_sigterm_goes_on_bit_for_bit(
    batches: list[int], where: str, whole: tuple[Path, Fitted], cache: Path, tmp_path: Path
) -> None:
    for count in batches:
        data = make_data(cache, MANIFEST, seed=5)
        interrupt(data, count, sigterm)
        with pytest.raises(StoppedBySignal, match=f"Stopped by SIGTERM {where}") as stop:
            run(tmp_path, cache, data=data, ema_decay=0.9, early_stopping=4)
        assert stop.value.exit_code == 143
        assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
        assert not (tmp_path / "checkpoints" / FITTED).exists()
    fitted = run(tmp_path, cache, ema_decay=0.9, early_stopping=4)
    assert_equal_runs((tmp_path, fitted), whole)


@pytest.mark.parametrize("batch", [2, 5, 9])
def test_a_run_that_crashed_goes_on_bit_for_bit(
    batch: int, whole: tuple[Path, Fitted], cache: Path, tmp_path: Path
) -> None:
    """Between two checkpoints, too: the last one is repeated from, and nothing of what came after it remains."""
    data = make_data(cache, MANIFEST, seed=5)
    interrupt(data, batch, crash)
    settings = {"ema_decay": 0.9, "early_stopping": 4, "checkpoint_steps": 2}
    with pytest.raises(OSError, match="disk"):
        run(tmp_path, cache, data=data, **settings)
    assert_equal_runs((tmp_path, run(tmp_path, cache, **settings)), whole)


def assert_equal_runs(one: tuple[Path, Fitted], other: tuple[Path, Fitted]) -> None:
    assert one[1] == other[1]
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = (load_checkpoint(folder / "checkpoints" / name) for folder, _ in (one, other))
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
            assert same(ours[key], theirs[key]), (name, key)


def test_a_finished_run_is_not_trained_again(whole: tuple[Path, Fitted], cache: Path) -> None:
    folder, fitted = whole
    before = (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    assert run(folder, cache, ema_decay=0.9, early_stopping=4) == fitted
    assert (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_it_learns_and_the_best_epoch_is_kept(cache: Path, tmp_path: Path) -> None:
    journal, larger = Memory(), make_manifest(train=60, validation=30)
    data = make_data(cache, larger, seed=5, batch_size=6)
    network = NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "depth": 10, "width": 8}})
    fitted = run(
        tmp_path, cache, journal=journal, epochs=10, manifest=larger, data=data, network=network, learning_rate=0.01
    )
    assert fitted.monitor == "auroc"
    assert fitted.history[-1]["train/loss"] < 0.75 * fitted.history[0]["train/loss"]
    assert fitted.best["val/auroc"] == max(entry["val/auroc"] for entry in fitted.history) >= 0.85
    rows = [row for row in journal.rows if "train/loss" in row]
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert {"train/loss", "val/loss", "val/auroc/lesion", "learning_rate", "cases_per_second"} <= set(rows[0])
    best = load_weights(tmp_path / "checkpoints" / "best.ckpt")
    classifier = build_classifier(NETWORK, FINDINGS, 3, 1)
    classifier.load_state_dict(best)
    assert load_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["epoch"] + 1 == fitted.best_epoch


def test_best_weights_are_the_averaged_ones(whole: tuple[Path, Fitted]) -> None:
    path = whole[0] / "checkpoints" / "last.ckpt"
    state = load_checkpoint(path)["state_dict"]
    weights = load_weights(path)
    name = "backbone.stem.conv.weight"
    assert torch.equal(weights[name], state[f"averaged.module.{name}"])
    assert not torch.equal(weights[name], state[f"classifier.{name}"])


def test_early_stopping_ends_a_run_that_no_longer_gains(cache: Path, tmp_path: Path) -> None:
    fitted = run(tmp_path, cache, epochs=12, early_stopping=1, monitor="loss", learning_rate=0.3, gradient_clip=0.1)
    assert fitted.stopped_early
    assert fitted.monitor == "loss"
    assert len(fitted.history) == fitted.best_epoch + 1
    losses = [entry["val/loss"] for entry in fitted.history]
    assert losses[fitted.best_epoch - 1] == min(losses)


def test_the_last_epoch_is_kept_where_none_is_to_be_chosen(cache: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 4, "learning_rate": 0.01, "ema_decay": 0.9}
    chosen = run(tmp_path / "best", cache, monitor="auroc", **settings)
    assert chosen.best_epoch < 4, "the last epoch would be the best one anyway"
    fitted = run(tmp_path / "last", cache, monitor="last", **settings)
    assert fitted.history[-1]["val/loss"] == chosen.history[-1]["val/loss"] == fitted.best["val/loss"]
    assert (fitted.monitor, fitted.best_epoch) == ("last", 4)
    assert any("owes something to chance" in line for line in chosen.warnings)
    assert not any("owes something to chance" in line for line in fitted.warnings)
    kept, state = (load_checkpoint(tmp_path / "last" / "checkpoints" / name) for name in ("best.ckpt", "last.ckpt"))
    assert kept["epoch"] + 1 == 4
    assert all(torch.equal(kept["state_dict"][name], value) for name, value in state["state_dict"].items())


def test_the_last_epoch_of_a_run_that_stops_early_is_nobodys_wish() -> None:
    with pytest.raises(ValidationError, match="leave early_stopping out"):
        TrainingSettings(monitor="last", early_stopping=3)
    with pytest.raises(ValidationError, match="validation steers a plateau"):
        TrainingSettings.model_validate({"monitor": "last", "schedule": {"kind": "plateau"}})


def test_two_runs_of_one_seed_are_equal(cache: Path, tmp_path: Path) -> None:
    runs = [run(tmp_path / name, cache, epochs=1, accumulate=2) for name in ("a", "b")]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("split", [Split.TRAIN, Split.VALIDATION])
def test_voxels_that_are_not_finite_stop_the_run_and_are_named(split: Split, cache: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "cache", MANIFEST, seed=5)
    bad = data.datasets[split].cases[3]
    path = data.datasets[split].cache.path(bad)
    content = bytearray(path.read_bytes())
    content[1000:1004] = np.float32("nan").tobytes()
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=rf"\b{bad.case}\b") as error:
        run(tmp_path / "run", cache, data=data)
    assert "not finite" in error.value.message or "is nan" in error.value.message
    for checkpoint in (tmp_path / "run").rglob("*.ckpt"):
        assert all(tensor.isfinite().all() for tensor in load_weights(checkpoint).values())


def test_a_gradient_that_is_not_finite_stops_before_the_weights_take_it(cache: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = build_classifier(NETWORK, FINDINGS, 3, 1)
    weight = classifier.backbone.stages[2][0].conv1.weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weight.detach().clone()
    with pytest.raises(TrainingError, match=r"step 1: the gradient of backbone.stages.2.0.conv1.weight is not finite"):
        fit(
            classifier,
            make_data(cache, MANIFEST, seed=5),
            TrainingSettings.model_validate(SETTINGS),
            labels={split: encode_labels(MANIFEST.of(split), FINDINGS) for split in Split},
            folder=tmp_path,
            precision=PrecisionChoice(reason="test"),
            journal=NullJournal(),
            seed=5,
        )
    assert torch.equal(weight, before)


def test_a_damaged_checkpoint_is_named(cache: Path, tmp_path: Path) -> None:
    last = tmp_path / "checkpoints" / "last.ckpt"
    run(tmp_path, cache, epochs=1)
    (tmp_path / "checkpoints" / FITTED).unlink()
    last.write_bytes(last.read_bytes()[:5000])
    with pytest.raises(TrainingError, match=r"last.ckpt is damaged"):
        run(tmp_path, cache, epochs=1)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "pwned"),)

    torch.save({"state_dict": Evil()}, tmp_path / "last.ckpt")
    with pytest.raises(TrainingError, match="damaged"):
        load_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "pwned").exists()


def test_sigterm_behind_the_last_step_of_several_ranks_stops_before_what_comes_next(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = TrainingModule.on_validation_epoch_end

    def asked_at_the_end(self: TrainingModule) -> None:
        ended(self)
        self.stopping.asked = self.current_epoch == 1  # where one process would have stopped within validation

    monkeypatch.setattr(TrainingModule, "on_validation_epoch_end", asked_at_the_end)
    with pytest.raises(StoppedBySignal, match=r"in epoch 2\. Everything is saved"):
        run(tmp_path, cache, epochs=2)
    assert len(run(tmp_path, cache, epochs=2).history) == 2  # nothing is trained again


def test_auroc_cannot_choose_where_validation_has_one_class(cache: Path, tmp_path: Path) -> None:
    manifest = make_manifest()
    kept = [c for c in manifest.cases if c.split is not Split.VALIDATION or c.labels["lesion"] == "yes"]
    manifest = manifest.model_copy(update={"cases": tuple(kept)})
    with pytest.raises(TrainingError, match="no validation case of lesion is no"):
        run(tmp_path, cache, manifest=manifest, data=make_data(cache, manifest), monitor="auroc")
