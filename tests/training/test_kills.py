"""A training that is killed anywhere and given the same command again equals an uninterrupted one, bit for bit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from phantoms.kills import STEPS
from phantoms.trainings import same

from pipeline.errors import EXIT_SIGTERM
from pipeline.package.package import load_package
from pipeline.stages.stopping import GOES_ON
from pipeline.tracking.journal import read_journal
from pipeline.tracking.records import Metrics
from pipeline.training.callbacks import STEP_LOSS
from pipeline.training.checkpoints import load_checkpoint

TIMES = ("cases_per_second", "epoch_seconds", "seconds/")
"""Beginnings of the names of metrics that tell how long something took."""
PASSING = ("epoch_loop.val_loop.batch_progress", "losses")
"""What a stop within validation changes in the best epoch's checkpoint: how many batches of validation were begun, and
which losses wait for the journal, which is compared itself. The last checkpoint is equal in these too."""
END: dict[str, Any] = {"workers": 0}
KILLED = -9
TERMS = [("prepare", 9), ("step", 3), ("validation", 1), ("package", 5)]
AGAIN = "All steps are saved; the same command goes on with this validation, from its first case."
STOPS = [f". {GOES_ON}", f" in epoch 1. {GOES_ON}", f" in the validation of epoch 1. {AGAIN}", f". {GOES_ON}"]


def lives(jobs: dict[str, list[dict[str, Any]]], folder: Path) -> tuple[dict[str, list[int]], str]:
    """Exit statuses of the lives of each run, and what they said; see :mod:`phantoms.kills`."""
    paths = {str(folder / name): job for name, job in jobs.items()}
    command = [sys.executable, "-W", "ignore", "-m", "phantoms.kills", json.dumps(paths)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return {Path(name).name: statuses for name, statuses in found.items()}, done.stderr


def measured(run: Path) -> dict[tuple[str, int], float]:
    """What the journal holds, without times; no metric stands twice at one step."""
    found: dict[tuple[str, int], float] = {}
    for record in read_journal(run):
        for name, value in record.values.items() if isinstance(record, Metrics) else ():
            assert (name, record.step) not in found, (name, record.step)
            found[name, record.step] = value
    return {key: value for key, value in found.items() if not key[0].startswith(TIMES)}


def assert_equal(one: Path, other: Path) -> None:
    """Weights and their average, optimizer, schedule, sampler, watches, per-step loss, metrics and package."""
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = (load_checkpoint(run / "checkpoints" / name) for run in (one, other))
        for key in theirs:
            assert same(ours[key], theirs[key], PASSING if name == "best.ckpt" else ()), (name, key)
    assert measured(one) == measured(other)
    packages = [load_package(run / "package") for run in (one, other)]
    assert packages[0].calibration == packages[1].calibration
    assert (one / "package" / "weights.safetensors").read_bytes() == (
        other / "package" / "weights.safetensors"
    ).read_bytes()


def status(life: dict[str, Any]) -> int:
    """Exit status that a life should have."""
    if life.keys() & {"step", "write", "kept"}:
        return KILLED
    return 1 if "room" in life else EXIT_SIGTERM if "term" in life else 0


def check(jobs: dict[str, list[dict[str, Any]]], folder: Path, steps: int = STEPS, **training: Any) -> str:
    """Kill runs of these settings, and hold each against one that is left alone."""
    given = {name: [life | {"training": training} for life in job] for name, job in jobs.items()}
    statuses, told = lives(given | {"whole": [END | {"training": training}]}, folder)
    assert statuses.pop("whole") == [0], told
    assert [step for name, step in measured(folder / "whole") if name == STEP_LOSS] == list(range(1, steps + 1))
    for name, found in statuses.items():
        assert found == [status(life) for life in jobs[name]], (name, told)
        assert_equal(folder / name, folder / "whole")
    return told


def test_kills_a_full_disk_and_sigterm_leave_no_trace(tmp_path: Path) -> None:
    """A kill between two checkpoints, with workers, which must not outlive it; one within the write of a checkpoint."""
    jobs = {
        "step": [{"workers": 2, "step": 7}, END],
        "write": [{"workers": 0, "room": 40_000}, {"workers": 0, "write": 4}, END],
    }
    jobs["term"] = [{"workers": 2, "term": [place, number]} for place, number in TERMS] + [END]
    told = check(jobs, tmp_path, steps=8, epochs=2)
    assert "Traceback" not in told
    stops = [line for line in told.splitlines() if "SIGTERM" in line]
    assert stops == [f"resdx: Stopped by SIGTERM{said}" for said in STOPS]
    last = tmp_path / "write" / "checkpoints" / "last.ckpt"
    assert f"DiskFull: No space is left to write {last}: File too large. What was saved before is whole." in told
    assert not list(tmp_path.rglob(".tmp-*"))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_kill_at_any_of_twenty_steps_leaves_no_trace(tmp_path: Path) -> None:
    """Half of them between two checkpoints; going on with other workers than before, too."""
    jobs = {f"{n}": [{"workers": 2 * (n // 2 % 2), "step": n}, {"workers": 2 * (n % 2)}] for n in range(1, STEPS + 1)}
    check(jobs, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_kills_within_the_write_of_any_checkpoint_leave_no_trace(tmp_path: Path) -> None:
    places = [("write", n) for n in range(1, 11)] + [("kept", n) for n in range(3, 11)]
    jobs = {f"{kind}{n}": [{"workers": 0, kind: n}, END] for kind, n in places}
    thrice = [{"workers": 2, "step": 3}, {"workers": 0, "kept": 5}, {"workers": 2, "write": 2}, END]
    check(jobs | {"thrice": thrice}, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_kills_while_gradients_are_accumulated_leave_no_trace(tmp_path: Path) -> None:
    jobs = {f"{n}": [{"workers": 2 * (n % 2), "step": n}, END] for n in (1, 4, 5, 9)}
    check(jobs, tmp_path, steps=10, accumulate=2)
