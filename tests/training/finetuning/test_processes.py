"""What thaws stays equal in all processes that train together."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("two_processes.py")


def train(folder: Path, epochs: int) -> list[dict[str, dict[str, Tensor]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    shared |= {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"}
    shared |= {"LOCAL_WORLD_SIZE": "2"}
    folder.mkdir()
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", str(SCRIPT), str(folder), str(rank), str(epochs)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.long
def test_two_processes_thaw_alike(tmp_path: Path) -> None:
    for epochs, thawed in ((1, False), (2, True)):
        ours, theirs = train(tmp_path / str(epochs), epochs)
        for name, value in ours["after"].items():
            assert torch.equal(value, theirs["after"][name]), name
            moved = not torch.equal(value, ours["before"][name])
            if name.startswith("backbone.stem."):
                assert not moved, name
            elif name.startswith("backbone.stages.0."):
                assert moved is thawed, name
            else:
                assert moved, name
