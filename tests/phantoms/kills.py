"""Trainings through the real stage that are killed at a given place: ``python -m phantoms.kills`` with jobs as JSON.

A job is a list of lives of one run folder. A life is a dictionary: ``workers``, ``training`` (settings), and at most
one of ``step`` (kill -9 behind that optimizer step), ``write`` (kill -9 in the middle of writing the n-th checkpoint),
``kept`` (kill -9 when the one before the n-th was put aside and the n-th is not in its place yet) and ``room`` (no file
may grow beyond so many bytes) and ``term`` (SIGTERM to all its processes in the n-th preparation of a case, training
step, validation batch or packaged case); without any the run ends. A life with ``term`` is begun by the command itself.
Each life is a process of its own, forked from this one before it has computed anything: imports are paid once.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.utils.data._utils.worker as loader_worker
from phantoms.spheres import make_manifest, read

from pipeline import cli
from pipeline.config import to_yaml
from pipeline.data.resampling import kernel
from pipeline.engines.torch.eager import TorchEngine
from pipeline.preprocessing import cache
from pipeline.stages import train as stage
from pipeline.stages.train import Config
from pipeline.training import sealed
from pipeline.training.module import TrainingModule

MANIFEST = make_manifest(train=32, validation=12, ndim=2)
EPOCHS, STEPS = 5, 20
"""Of batches of 8: four steps an epoch."""

SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of prctl(2): orphans become children of this process, which can then wait for their end."""


def config(out: Path, workers: int, **training: Any) -> Config:
    settings: dict[str, Any] = {
        "manifest": "cohort.csv",
        "out": str(out),
        "seed": 3,
        "processes": 0,
        "threads": 1,
        "network": {"backbone": {"kind": "resnet", "depth": 8, "width": 4, "stochastic_depth": 0.2}, "dropout": 0.2},
        "plan": {"precision": "32", "batch_size": 8},
        "training": {
            "epochs": EPOCHS,
            "accelerator": "cpu",
            "learning_rate": 0.003,
            "warmup_epochs": 1,
            "ema_decay": 0.9,
            "early_stopping": EPOCHS,
            "checkpoint_steps": 2,
            "depth_watch": {"every": 3},
        }
        | training,
        "data": {"workers": workers, "augmentation": {"flip_axes": [0], "shift": 1, "noise": 0.05}},
        "tracking": {"enabled": False, "system_seconds": 0},
    }
    return Config.from_mapping(settings)


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_step(step: int) -> None:
    original = TrainingModule.optimizer_step

    def stepping(self: TrainingModule, *args: Any, **kwargs: Any) -> None:
        before = self.trainer.global_step
        original(self, *args, **kwargs)
        if before + 1 == step:
            die()

    TrainingModule.optimizer_step = stepping  # type: ignore[method-assign]


def in_write(number: int) -> None:
    original = sealed._Hashing.write

    def writing(self: Any, content: Any, /) -> int:
        if number == count[0] and self._file.tell() > 5_000:
            self._file.flush()
            die()
        return original(self, content)

    count = counted(sealed, "write_sealed")
    sealed._Hashing.write = writing  # type: ignore[method-assign]


def when_kept(number: int) -> None:
    count = counted(sealed, "write_sealed")
    original = sealed._keep

    def keeping(path: Path) -> None:
        original(path)
        if number == count[0]:
            path.unlink()  # as on a disk without links, where the one before is moved away
            die()

    sealed._keep = keeping


def counted(module: Any, name: str) -> list[int]:
    from pipeline.training import checkpoints

    count, original = [0], getattr(module, name)

    def counting(*args: Any) -> Any:
        count[0] += 1
        return original(*args)

    checkpoints.write_sealed = counting
    return count


def in_little_room(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def terminated(place: tuple[str, int]) -> None:
    """Send SIGTERM to the whole process group, as systemd and SLURM do, when a place is come to for the n-th time."""
    os.setpgid(0, 0)
    owner, name = PLACES[place[0]]
    original, left = getattr(owner, name), [place[1]]

    def coming(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.killpg(0, signal.SIGTERM)
        return original(*args, **kwargs)

    setattr(owner, name, coming)


PLACES: dict[str, tuple[Any, str]] = {
    "prepare": (cache, "prepare"),
    "step": (TrainingModule, "training_step"),
    "validation": (TrainingModule, "validation_step"),
    "package": (TorchEngine, "answer"),
}


def command(settings: Config) -> None:
    """``resdx train`` with a cohort that lies in memory."""
    stage.load_manifest = lambda path: MANIFEST  # type: ignore[assignment]
    stage.load_files = lambda path: None  # type: ignore[assignment]
    stage.CaseReader = lambda *args: SimpleNamespace(read=read)  # type: ignore[assignment, misc]
    file = settings.out.with_suffix(".yaml")
    file.write_text(to_yaml(settings), encoding="utf-8")
    sys.argv = ["resdx", "train", str(file)]
    cli.main()


KILLS: dict[str, Callable[[Any], None]] = {
    "term": terminated,
    "step": at_step,
    "write": in_write,
    "kept": when_kept,
    "room": in_little_room,
}


def live(out: Path, life: dict[str, Any]) -> None:
    """One process of a run, to its end or its kill."""
    torch.set_num_threads(1)
    for kind, number in life.items():
        if kind in KILLS:
            KILLS[kind](number)
    settings = config(out, life["workers"], **life.get("training", {}))
    if "term" in life:
        command(settings)
    stage.train(settings, MANIFEST, read)


def run(out: Path, lives: list[dict[str, Any]]) -> list[int]:
    """Exit statuses of the lives of a run, a negative one the signal; all that they started has ended by then."""
    statuses = []
    for life in lives:
        pid = os.fork()
        if pid == 0:
            try:
                live(out, life)
            except SystemExit as end:
                os._exit(int(str(end.code)))
            except BaseException as error:  # noqa: BLE001 - a fork must never return into its parent's code
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        statuses.append(os.waitstatus_to_exitcode(status))
        while True:  # loaders' workers that the kill left behind: they end by themselves, or this waits for ever
            try:
                os.wait()
            except ChildProcessError:
                break
    return statuses


def main(jobs: dict[str, list[dict[str, Any]]]) -> None:
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    kernel()  # compiled once, for all that are forked
    loader_worker.MP_STATUS_CHECK_INTERVAL = 0.2  # how often a worker looks for its parent
    print(json.dumps({out: run(Path(out), lives) for out, lives in jobs.items()}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
