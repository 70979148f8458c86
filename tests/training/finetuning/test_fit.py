"""A fine-tuning that is interrupted goes on bit for bit, and what is frozen does not move by a bit."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from phantoms.spheres import FINDINGS, make_data, make_manifest

from pipeline.domain.case import Split
from pipeline.domain.encoding import encode_labels
from pipeline.domain.journal import NullJournal
from pipeline.errors import StoppedBySignal
from pipeline.training.checkpoints import load_checkpoint
from pipeline.training.finetuning.beginning import begin
from pipeline.training.fitting import Fitted, fit
from pipeline.training.precision import PrecisionChoice
from pipeline.training.settings import TrainingSettings

MANIFEST = make_manifest()
LABELS = {split: encode_labels(MANIFEST.of(split), FINDINGS) for split in Split}
BATCHES = 3
"""Of an epoch: 24 cases by 8."""

STAGES = {"frozen": ["stem", "stage1"], "thaw": {"stage1": 1}, "layer_decay": 0.6}
FREEZING = STAGES | {"norms": "fixed_statistics"}
ADAPTING = STAGES | {"lora": {"rank": 2, "dropout": 0.1}}


class Memory(NullJournal):
    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.rows.append({"step": step, **values})


def run(build: Any, folder: Path, cache: Path, finetune: dict[str, Any], **options: Any) -> tuple[Fitted, Any]:
    settings = {"epochs": 4, "warmup_epochs": 1, "learning_rate": 3e-3, "accelerator": "cpu", "ema_decay": 0.9}
    chosen = TrainingSettings.model_validate(settings | {"finetune": finetune} | options.pop("settings", {}))
    classifier = build(stochastic_depth=0.2, dropout=0.2)
    begin(classifier, chosen.finetune, chosen.epochs)
    fitted = fit(
        classifier,
        options.get("data") or make_data(cache, MANIFEST, seed=5),
        chosen,
        labels=LABELS,
        folder=folder,
        precision=PrecisionChoice(reason="test"),
        journal=options.get("journal") or Memory(),
        seed=5,
    )
    return fitted, classifier


def stopped_at(cache: Path, batch: int) -> Any:
    """Data that brings SIGTERM while the n-th training batch is read."""
    data, left = make_data(cache, MANIFEST, seed=5), [batch]
    dataset = data.datasets[Split.TRAIN]

    class Stopping(dataset.__class__):  # type: ignore[misc, name-defined]
        def __getitems__(self, visits: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().__getitems__(visits)

    dataset.__class__ = Stopping
    return data


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return bool(one == other)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize(
    ("finetune", "stops"),
    [(FREEZING, [2, 3]), (ADAPTING, [BATCHES + 2])],
    ids=["freezing", "adapting"],
)
def test_a_resumed_fine_tuning_equals_an_uninterrupted_one(
    build: Any, finetune: dict[str, Any], stops: list[int], cache: Path, tmp_path: Path
) -> None:
    """Stopped while frozen, and within the epoch that thaws."""
    if "lora" in finetune:
        pytest.importorskip("peft")
    settings = {"epochs": 3}
    whole, _ = run(build, tmp_path / "whole", cache, finetune, settings=settings)
    for batch in stops:
        with pytest.raises(StoppedBySignal):
            run(build, tmp_path / "stopped", cache, finetune, settings=settings, data=stopped_at(cache, batch))
    resumed, _ = run(build, tmp_path / "stopped", cache, finetune, settings=settings)
    assert resumed == whole
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = (load_checkpoint(tmp_path / run / "checkpoints" / name) for run in ("whole", "stopped"))
        for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
            assert same(ours[key], theirs[key]), (name, key)


def test_what_is_frozen_does_not_move_by_a_bit_and_what_thaws_moves_from_its_epoch_on(
    build: Any, cache: Path, tmp_path: Path
) -> None:
    """Stopped in its last frozen epoch, and again one step after the thaw."""
    before = {name: value.clone() for name, value in build().state_dict().items()}
    finetune = {"frozen": ["stem", "stage1"], "thaw": {"stage1": 2}, "layer_decay": 0.6}
    moving = {"backbone.stem.": False, "backbone.stages.0.": False, "backbone.stages.3.": True, "heads.": True}
    for batch, step, thawed in ((2 * BATCHES - 1, 2 * BATCHES - 1, False), (2, 2 * BATCHES + 1, True)):
        with pytest.raises(StoppedBySignal):
            run(build, tmp_path, cache, finetune, data=stopped_at(cache, batch))
        checkpoint = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
        assert checkpoint["global_step"] == step
        for prefix in ("classifier.", "averaged.module."):
            state = checkpoint["state_dict"]
            moved = {name for name, value in before.items() if not torch.equal(state[prefix + name], value)}
            for stage, moves in (moving | {"backbone.stages.0.": thawed}).items():
                names = {name for name in before if name.startswith(stage)}
                assert names & moved == (names if moves else set()), (prefix, stage, step)


def test_the_journal_shows_the_rate_of_each_stage(build: Any, cache: Path, tmp_path: Path) -> None:
    journal = Memory()
    finetune = {"frozen": ["stem", "stage1"], "thaw": {"stage1": 2}, "layer_decay": 0.6}
    run(build, tmp_path, cache, finetune, journal=journal, settings={"epochs": 3})
    first, _, third = (row for row in journal.rows if "train/loss" in row)
    assert first["learning_rate"] == first["learning_rate/heads"] > 0
    assert first["learning_rate/stage4"] == pytest.approx(0.6 * first["learning_rate"])
    assert first["learning_rate/stage2"] == pytest.approx(0.6**3 * first["learning_rate"])
    assert first["learning_rate/stage1"] == 0.0 < third["learning_rate/stage1"]
    assert "learning_rate/stem" not in first


def test_the_optimizer_knows_nothing_of_what_never_trains(build: Any, cache: Path, tmp_path: Path) -> None:
    _, classifier = run(build, tmp_path, cache, {"frozen": ["stem", "stage1"]}, settings={"epochs": 1})
    groups = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["optimizer_states"][0]["param_groups"]
    frozen = {id(p) for name in ("stem", "stage1") for p in classifier.backbone.named_stages()[name].parameters()}
    assert sum(len(group["params"]) for group in groups) == len(list(classifier.parameters())) - len(frozen)
    assert all(parameter.grad is None for parameter in classifier.backbone.stem.parameters())
