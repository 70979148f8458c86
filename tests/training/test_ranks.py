"""Two processes, started by torchrun and joined by gloo, train as one process whose batches are twice as large."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from phantoms import two_ranks

from pipeline.errors import TrainingError
from pipeline.training.checkpoints import load_checkpoint, load_weights
from pipeline.training.ranks import check_joined, rank_of

ROOT = Path(__file__).resolve().parents[2]
EXACT = ("group", "fixed_statistics")
EXACT_TOO = ("balanced", "single", "frozen", "parts")
TOLERANCE = 1e-6
"""Relative, of the loss of a step: sums are taken in another order."""
ONE_PAIR = 0.05
"""Of the AUROC of a dozen cases, where rounding may exchange two that are all but equal; the logits of every case, from
which it follows, are held to rounding."""
LOGITS = 1e-4
"""Absolute, of a validation case after the steps of all epochs so far."""
BATCH_NORM_DIFFERENCE = 0.02
"""Relative, of the loss of a step: statistics of 4 cases rather than 8; measured 0.0037 at most."""


def torchrun(*arguments: str, processes: int = 2, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    settings = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"} | environment
    return subprocess.run(
        [*command, "--nproc-per-node", str(processes), *arguments],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which two processes have trained, and what each of them saw."""
    folder = tmp_path_factory.mktemp("together")
    done = torchrun(two_ranks.__file__, str(folder), *EXACT)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As :func:`together`, with batch norms, and stopped on the way."""
    folder = tmp_path_factory.mktemp("longer")
    done = torchrun(two_ranks.__file__, str(folder), "batch", "stopped@6", "stopped")
    assert done.returncode == 0, done.stderr
    return folder


def seen_by(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{name}.rank{rank}.json").read_text()) for rank in range(2)]


def loss_changes(ours: list[dict[str, Any]], alone: dict[str, Any]) -> list[float]:
    """Relative change of the loss of each step, having checked that it saw the same cases."""
    changes = []
    for first, second, whole in zip(ours[0]["steps"], ours[1]["steps"], alone["steps"], strict=True):
        assert set(first["cases"]) | set(second["cases"]) == set(whole["cases"])
        cases = [len(first["cases"]), len(second["cases"])]
        loss = (first["loss"] * cases[0] + second["loss"] * cases[1]) / sum(cases)
        changes.append(abs(loss / whole["loss"] - 1))
    return changes


@pytest.mark.parametrize("name", EXACT)
def test_two_ranks_train_as_one_process_with_the_doubled_batch(name: str, together: Path, tmp_path: Path) -> None:
    assert_equal_to_one_process(name, together, tmp_path)


@pytest.mark.long
def test_two_ranks_train_as_one_process_in_other_ways(tmp_path: Path) -> None:
    """Balanced sampling, frozen norms, and one case a rank, where the last step shows its one case to both."""
    done = torchrun(two_ranks.__file__, str(tmp_path), *EXACT_TOO)
    assert done.returncode == 0, done.stderr
    for name in EXACT_TOO:
        assert_equal_to_one_process(name, tmp_path, tmp_path / "alone")


def assert_equal_to_one_process(name: str, together: Path, tmp_path: Path) -> None:
    ours = seen_by(together, name)
    alone = two_ranks.watched(tmp_path, tmp_path / "cache", name)
    assert max(loss_changes(ours, alone)) < TOLERANCE
    for one, other in zip(ours[0]["history"], alone["history"], strict=True):
        # a case that both ranks saw counts twice in the mean of the training loss, and once in all else
        assert one.keys() == other.keys()
        for metric, value in one.items():
            if metric != "train/loss":
                close = ONE_PAIR if "auroc" in metric else 1e-5
                assert value == pytest.approx(other[metric], rel=1e-5, abs=close), metric
        assert one["train/loss"] == pytest.approx(other["train/loss"], rel=1e-2 if name == "single" else 1e-6)
    for one, other in zip(ours[0]["validated"], alone["validated"], strict=True):
        assert one.keys() == other.keys(), "each case once"
        for case, logits in one.items():
            assert logits == pytest.approx(other[case], abs=LOGITS), case
    weights = [load_weights(folder / name / "checkpoints" / "last.ckpt") for folder in (together, tmp_path)]
    for key, value in weights[1].items():
        assert torch.allclose(weights[0][key], value, rtol=1e-4, atol=1e-5), key


def test_ranks_visit_each_case_once_and_in_shares_that_differ_by_one(together: Path) -> None:
    for first, second in zip(*(ours["steps"] for ours in seen_by(together, "group")), strict=True):
        assert not set(first["cases"]) & set(second["cases"])
        assert len(first["cases"]) - len(second["cases"]) in (0, 1)
    visited = [case for ours in seen_by(together, "group") for step in ours["steps"][:4] for case in step["cases"]]
    assert sorted(visited) == sorted(f"C{number}" for number in range(31))


def srun(folder: Path, *names: str) -> None:
    """Run two tasks to their end, with what srun tells each of them."""
    job = {
        "SLURM_JOB_ID": str(40_000 + os.getpid() % 10_000),  # the port follows from it
        "SLURM_JOB_NAME": "training",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NODEID": "0",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "OMP_NUM_THREADS": "1",
    }
    tasks = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", two_ranks.__file__, str(folder), *names],
            env=os.environ | job | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        errors = [task.communicate(timeout=280)[1] for task in tasks]
    finally:
        for task in tasks:
            task.kill()
    assert [task.returncode for task in tasks] == [0, 0], errors


@pytest.mark.long
def test_tasks_of_slurm_train_as_ranks_of_torchrun_do(together: Path, tmp_path: Path) -> None:
    srun(tmp_path, "group")
    for ours, theirs in zip(seen_by(tmp_path, "group"), seen_by(together, "group"), strict=True):
        for seen in ("steps", "history"):  # the rows of the journal have times
            assert ours[seen] == theirs[seen]


@pytest.mark.long
def test_batch_norm_of_smaller_shares_differs_within_bounds(longer: Path, tmp_path: Path) -> None:
    changes = loss_changes(seen_by(longer, "batch"), two_ranks.watched(tmp_path, tmp_path / "cache", "batch"))
    assert TOLERANCE < max(changes) < BATCH_NORM_DIFFERENCE


def test_only_the_first_rank_records(together: Path) -> None:
    first, second = seen_by(together, "group")
    steps = [step for step, values in first["rows"] if any(name.startswith("depth/") for name in values)]
    assert steps == list(range(1, 9))
    assert [step for step, values in first["rows"] if "overfit/gap" in values] == [1, 2]
    assert second["rows"] == []
    assert {path.name for path in (together / "group" / "watched").iterdir()} == {"depth.csv", "depth.png"}


@pytest.mark.long
def test_sigterm_at_one_rank_stops_both_and_they_go_on_bit_for_bit(together: Path, longer: Path) -> None:
    stopped = seen_by(longer, "stopped@6")
    assert [(rank["stopped"], len(rank["steps"])) for rank in stopped] == [(143, 6), (143, 6)]
    again = seen_by(longer, "stopped")
    assert [len(rank["steps"]) for rank in again] == [2, 2]
    assert again[0]["history"] == seen_by(together, "group")[0]["history"]
    places = longer / "stopped", together / "group"
    ours, whole = (load_checkpoint(place / "checkpoints" / "last.ckpt") for place in places)
    for key, value in whole["state_dict"].items():
        assert torch.equal(ours["state_dict"][key], value), key
    for key, state in whole["optimizer_states"][0]["state"].items():
        for name, value in state.items():
            assert torch.equal(ours["optimizer_states"][0]["state"][key][name], value), (key, name)


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, 0),
        ({"RANK": "3", "LOCAL_RANK": "1"}, 3),
        ({"SLURM_PROCID": "2", "SLURM_LOCALID": "0"}, 2),
        ({"RANK": "0", "SLURM_PROCID": "1"}, 0),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, 1),
        ({"NODE_RANK": "1"}, 1),
    ],
)
def test_a_process_knows_whether_it_is_the_first(environment: dict[str, str], rank: int) -> None:
    assert rank_of(environment) == rank


def test_processes_that_would_train_each_on_its_own_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trainer:
        global_rank, world_size = 0, 1

    monkeypatch.setenv("RANK", "1")
    with pytest.raises(TrainingError, match="number 1 of several") as error:
        check_joined(Trainer())  # type: ignore[arg-type]
    assert "training.devices" in error.value.remedy
