"""Arrays cross from a worker to its parent whole, without a copy in the pipe, and nothing stays open."""

import errno
import os
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.workers import passing
from pipeline.workers.passing import receive, send

LARGE = np.arange(3 * 70_000, dtype=np.float64).reshape(3, 70_000)


@pytest.fixture
def pipes() -> Any:
    ours, theirs = Pipe()
    yield ours, theirs
    ours.close()
    theirs.close()


def passed(pipes: tuple[Connection, Connection], message: object) -> Any:
    """Send from a thread, as a pipe holds little."""
    sender = threading.Thread(target=send, args=(pipes[1], message))
    sender.start()
    found = receive(pipes[0])
    sender.join()
    return found


def crossed_in_a_file(pipes: tuple[Connection, Connection], message: object, monkeypatch: pytest.MonkeyPatch) -> bool:
    files: list[int] = []
    real = passing._send_file
    with monkeypatch.context() as patch:
        patch.setattr(passing, "_send_file", lambda pipe, file: (files.append(file), real(pipe, file)))
        passed(pipes, message)
    return bool(files)


MESSAGES: dict[str, Any] = {
    "one": LARGE,
    "several, one empty, of several types": {
        "a": LARGE,
        "b": [np.zeros((0, 4)), LARGE.astype(np.int8)],
        "c": (np.bool_(True), "text", None),
    },
    "slices left where they were read": LARGE.reshape(10, 70, 300).transpose(2, 1, 0)[np.newaxis],
    "every other value": LARGE[:, ::2],
    "a structure": np.zeros(200_000, dtype=[("x", "<i4"), ("y", "u1")]),
    "small": np.arange(5),
    "no array": ("value", None),
}


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
@pytest.mark.parametrize("system", ["memory", "disk", "none", "full"])
def test_messages_arrive_as_they_were_sent(
    message: Any, system: str, pipes: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    if system == "disk":
        monkeypatch.delattr(os, "memfd_create")
    elif system == "none":
        monkeypatch.delattr("socket.SCM_RIGHTS")
    elif system == "full":

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "no space left")

        monkeypatch.setattr(os, "memfd_create", full)
    np.testing.assert_equal(passed(pipes, message), message)


def test_large_arrays_cross_in_a_file_and_small_ones_in_the_pipe(
    pipes: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert crossed_in_a_file(pipes, MESSAGES["slices left where they were read"], monkeypatch)
    assert not crossed_in_a_file(pipes, MESSAGES["small"], monkeypatch)


def test_what_arrives_may_be_written_to_and_is_nobody_elses(pipes: tuple[Connection, Connection]) -> None:
    first, second = passed(pipes, LARGE), passed(pipes, LARGE)
    first[0, 0] = -1.0
    assert (first[0, 0], second[0, 0], LARGE[0, 0]) == (-1.0, 0.0, 0.0)
    assert first.ctypes.data % 64 == 0


def test_nothing_stays_open(pipes: tuple[Connection, Connection]) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(20):
        passed(pipes, LARGE)
    assert len(list(descriptors.iterdir())) == before


def test_a_worker_that_ends_between_header_and_file_is_noticed(pipes: tuple[Connection, Connection]) -> None:
    pipes[1].send_bytes(passing.SHARED + (1).to_bytes(4, "little") + (10).to_bytes(8, "little") + b"N.")
    pipes[1].close()
    with pytest.raises(EOFError):
        receive(pipes[0])
