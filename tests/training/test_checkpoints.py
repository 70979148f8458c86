"""Checkpoints that are damaged are never used: the one before is, and what comes out is the same."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from phantoms.trainings import same, train

from pipeline import atomic
from pipeline.errors import DiskFull, TrainingError
from pipeline.training.checkpoints import best_weights, load_checkpoint, resumable
from pipeline.training.fitting import FITTED, Fitted
from pipeline.training.keeping import KeepBest
from pipeline.training.sealed import check_seal, previous, write_sealed

SETTINGS: dict[str, Any] = {"epochs": 3, "ema_decay": 0.9, "checkpoint_steps": 2, "early_stopping": 3}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Path, Fitted]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(folder, cache, **SETTINGS)


@pytest.fixture
def ended(whole: tuple[Path, Fitted], tmp_path: Path) -> Path:
    """Checkpoints of a run that was killed just before it could say that it had ended."""
    shutil.copytree(whole[0] / "checkpoints", tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / FITTED).unlink()
    return tmp_path / "checkpoints"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def cut_by_one(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lose(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [cut, cut_by_one, flip, empty, lose])
def test_the_one_before_is_used(damage: Callable[[Path], None], ended: Path, caplog: Any) -> None:
    last = ended / "last.ckpt"
    before = previous(last).read_bytes()
    damage(last)
    assert resumable(ended) == last
    assert "last.ckpt is" in caplog.text and "the checkpoint before it is used" in caplog.text.replace("The", "the")
    assert last.read_bytes() == before and not previous(last).exists()


def test_the_one_before_gives_the_same(ended: Path, whole: tuple[Path, Fitted], cache: Path) -> None:
    flip(ended / "last.ckpt")
    assert train(ended.parent, cache, **SETTINGS) == whole[1]
    assert_equal(ended, whole[0] / "checkpoints")


def assert_equal(one: Path, other: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = load_checkpoint(one / name), load_checkpoint(other / name)
        for key in theirs:
            if key not in ("loops", "callbacks"):
                assert same(ours[key], theirs[key]), (name, key)


@pytest.mark.parametrize("epoch", [2, 3])
def test_the_last_epoch_is_that_of_an_uninterrupted_run(epoch: int, cache: Path, tmp_path: Path) -> None:
    settings = {"epochs": 3, "monitor": "last"}
    expected = train(tmp_path / "whole", cache, **settings)
    killed_in_epoch(tmp_path / "killed", cache, epoch, settings)
    assert (tmp_path / "killed" / "checkpoints" / "best.ckpt").exists() == (epoch == 3)
    assert train(tmp_path / "killed", cache, **settings) == expected
    assert_equal(tmp_path / "killed" / "checkpoints", tmp_path / "whole" / "checkpoints")


def killed_in_epoch(
    folder: Path,
    cache: Path,
    epoch: int,
    settings: dict[str, Any],
    before: Callable[[KeepBest], None] = lambda one: None,
) -> None:
    """Die behind the save of the best epoch and before that of the last; `before` is called before both."""
    original = KeepBest.on_train_epoch_end

    def killed(self: KeepBest, trainer: Any, module: Any) -> None:
        if trainer.current_epoch + 1 == epoch:
            before(self)
        original(self, trainer, module)
        if trainer.current_epoch + 1 == epoch:
            raise OSError("killed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeepBest, "on_train_epoch_end", killed)
        with pytest.raises(OSError, match="killed"):
            train(folder, cache, **settings)


def test_a_run_that_is_done_and_lost_its_best_weights_says_so(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, checkpoints = KeepBest.on_train_epoch_end, tmp_path / "checkpoints"

    def first_is_best(self: KeepBest, trainer: Any, module: Any) -> None:
        if trainer.current_epoch == 0:
            original(self, trainer, module)

    monkeypatch.setattr(KeepBest, "on_train_epoch_end", first_is_best)
    assert train(tmp_path, cache, epochs=3).best_epoch == 1
    for name in (FITTED, "best.ckpt"):
        (checkpoints / name).unlink()
    with pytest.raises(TrainingError, match=r"All epochs are done, but the weights .*another `out`"):
        train(tmp_path, cache, epochs=3)


def test_both_damaged_says_what_to_do(ended: Path, cache: Path) -> None:
    flip(ended / "last.ckpt")
    cut(ended / "last.previous.ckpt")
    with pytest.raises(TrainingError, match=r"last\.ckpt is damaged.*last\.previous\.ckpt is damaged.*trains anew"):
        train(ended.parent, cache, **SETTINGS)


def test_the_last_state_of_a_run_that_had_stopped_early_does_not_go_on(cache: Path, tmp_path: Path) -> None:
    settings = {"epochs": 9, "early_stopping": 1, "monitor": "loss", "learning_rate": 0.3, "gradient_clip": 0.1}
    fitted = train(tmp_path, cache, **settings)
    assert fitted.stopped_early
    (tmp_path / "checkpoints" / FITTED).unlink()
    assert train(tmp_path, cache, **settings) == fitted


def killed_between_the_saves_of_best_and_last(folder: Path, cache: Path, epoch: int) -> None:
    """Leave `best.ckpt` of an epoch that `last.ckpt` knows nothing of."""

    def forget(keeper: KeepBest) -> None:
        keeper.score = -1.0  # whatever this epoch scores, it is better

    killed_in_epoch(folder, cache, epoch, SETTINGS, forget)


def test_a_best_epoch_that_was_not_resumed_from_leaves_no_trace(
    whole: tuple[Path, Fitted], cache: Path, tmp_path: Path
) -> None:
    epoch = 2
    killed_between_the_saves_of_best_and_last(tmp_path, cache, epoch)
    assert load_checkpoint(tmp_path / "checkpoints" / "best.ckpt")["epoch"] + 1 == epoch
    assert train(tmp_path, cache, **SETTINGS) == whole[1]
    assert_equal(tmp_path / "checkpoints", whole[0] / "checkpoints")


def test_a_damaged_best_is_never_packaged(ended: Path, whole: tuple[Path, Fitted]) -> None:
    epoch = whole[1].best_epoch
    expected = best_weights(whole[0] / "checkpoints", epoch)
    assert same(best_weights(ended, epoch), expected)
    for path in ended.glob("*.ckpt"):
        flip(path)
    with pytest.raises(TrainingError, match=rf"best\.ckpt is damaged or not of epoch {epoch}.*trains anew"):
        best_weights(ended, epoch)


def test_a_best_epoch_that_is_lost_is_told_in_the_card(ended: Path, cache: Path, whole: tuple[Path, Fitted]) -> None:
    """Where the weights of the best epoch so far are gone for good, no other epoch takes its name."""
    state = load_checkpoint(ended / "last.previous.ckpt")
    assert state["epoch"] == 2 and state["resdx_best"]["epoch"] in (1, 2)
    for name in ("best.ckpt", "best.previous.ckpt", "last.ckpt"):
        if (ended / name).exists():
            flip(ended / name)
    fitted = train(ended.parent, cache, **SETTINGS)
    assert fitted.best_epoch == 3
    assert fitted.warnings[-1].startswith(
        f"The weights of the best of the epochs so far, {state['resdx_best']['epoch']}, were lost"
    )
    assert best_weights(ended, 3).keys() == best_weights(whole[0] / "checkpoints", whole[1].best_epoch).keys()


def test_a_run_folder_that_was_moved_keeps_its_best(whole: tuple[Path, Fitted], cache: Path, tmp_path: Path) -> None:
    killed_between_the_saves_of_best_and_last(tmp_path / "b", cache, 3)
    (tmp_path / "b").rename(tmp_path / "c")
    assert train(tmp_path / "c", cache, **SETTINGS) == whole[1]


def test_a_score_that_is_not_finite_is_never_the_best(tmp_path: Path) -> None:
    class Trainer:
        current_epoch = 0
        saved: list[float] = []

        def save_checkpoint(self, path: Path) -> None:
            self.saved.append(self.current_epoch)

    keep, trainer = KeepBest(tmp_path), Trainer()
    for epoch, score in enumerate([float("nan"), float("inf"), -2.0, float("nan"), -1.0, -float("inf"), -1.0]):
        trainer.current_epoch = epoch
        trainer.callback_metrics = {"val/score": torch.tensor(score)}  # type: ignore[attr-defined]
        keep.on_train_epoch_end(trainer, None)  # type: ignore[arg-type] # it is asked for no more
    assert trainer.saved == [2, 4]
    assert (keep.score, keep.epoch) == (-1.0, 5)


def test_a_seal_holds_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    write_sealed(path, lambda sink: sink.write(b"content"))
    check_seal(path)
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :])
        with pytest.raises(TrainingError, match="damaged"):
            check_seal(path)
        path.write_bytes(content[:position])
        with pytest.raises((TrainingError, OSError)):
            check_seal(path)


def test_where_files_cannot_be_linked_the_one_before_is_kept_all_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "last.ckpt"
    for content in (b"one", b"two", b"three"):
        write_sealed(path, lambda sink, content=content: sink.write(content))  # type: ignore[misc]
    assert path.read_bytes().startswith(b"three") and previous(path).read_bytes().startswith(b"two")


def test_a_full_disk_leaves_both_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for number in (1, 2):
        write_sealed(path, lambda sink, number=number: torch.save({"n": torch.tensor(number)}, sink))  # type: ignore[misc]
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    class Full:
        def __init__(self, file: Any) -> None:
            self.file, self.left = file, 2000

        def write(self, content: Any) -> int:
            self.left -= len(content)
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return int(self.file.write(content))

    def save(sink: Any) -> None:
        sink._file = Full(sink._file)
        torch.save({"n": torch.zeros(1000)}, sink)

    with pytest.raises(DiskFull, match=rf"No space is left to write {path}: No space left on device\. .*Make space"):
        write_sealed(path, save)
    assert {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()} == before
    assert resumable(tmp_path / "nothing") is None


def test_other_writes_name_the_file_of_a_full_disk(tmp_path: Path) -> None:
    def full(temporary: Path) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(temporary))

    with pytest.raises(DiskFull, match=r"a\.json: Disk quota exceeded"):
        atomic.write_with(tmp_path / "a.json", full)
    with pytest.raises(DiskFull, match="package: Disk quota"):
        atomic.replace_folder(tmp_path / "package", full)
    assert list(tmp_path.iterdir()) == []
