"""A crash, a hang or a memory explosion costs one item; the order is kept; nothing is left behind."""

import errno
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from phantoms.dicom_series import Identity, make_voxels, write_series
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless

from pipeline import machine
from pipeline.errors import RejectedInput, UsageError, WorkerError
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read
from pipeline.workers import MOST_RESTARTS, imap, pool, serving

GIB = 1024**3


def behave(item: object) -> object:
    """Do what the item says; runs in a worker."""
    match item if isinstance(item, str) else "":
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            threading.Event().wait()
        case "explode":
            return np.ones((4096, 1024, 1024), dtype=np.float64).sum()
        case "grow":
            held = []
            while True:
                held.append(np.ones(4 * 1024**2))
        case "room for some":
            return int(np.ones(4 * 1024**2).sum())
        case "refuse":
            raise RejectedInput("GAP", "a slice is missing at 12.5 mm", stage="read")
        case "bug":
            raise ZeroDivisionError("Doe^Jane")
        case "unsendable":
            return lambda: None
        case "full disk":
            raise OSError(errno.ENOSPC, "no space left")
        case "our refusal":
            raise UsageError("the plan does not fit")
        case "who":
            return os.getpid()
        case "room":
            held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
            return resource.getrlimit(resource.RLIMIT_AS)[0] - held
        case "exit":
            os._exit(3)
    return item


@dataclass
class Fatal:
    """An item that ends the worker to which it comes before the work on it can begin."""

    log: Path

    def __setstate__(self, state: dict[str, Path]) -> None:
        with state["log"].open("a", encoding="utf-8") as file:
            file.write("x")
        os._exit(9)


def outcomes(items: list[object], processes: int = 2, timeout_seconds: float = 60.0) -> list[object]:
    found = list(imap(behave, items, processes=processes, timeout_seconds=timeout_seconds, memory_bytes=512 * 1024**2))
    assert [one.index for one in found] == list(range(len(items)))
    return [one.error.code if one.error else one.value for one in found]


def children() -> list[int]:
    return [child.pid for child in psutil.Process().children(recursive=True) if "resource_tracker" not in _line(child)]


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return "resource_tracker"


def test_a_crash_costs_its_item_only() -> None:
    items: list[object] = [0, 1, "crash", 3, "exit", 5, "explode", 7, "refuse", 9]
    assert outcomes(items) == [0, 1, "CODEC_CRASH", 3, "CODEC_CRASH", 5, "TOO_LARGE", 7, "GAP", 9]
    assert not children()


def test_the_end_of_an_idle_worker_costs_nothing() -> None:
    stream = imap(behave, ["who", "who", 2], processes=1, timeout_seconds=60.0)
    first = next(stream).value
    assert isinstance(first, int)
    os.kill(first, signal.SIGKILL)  # as the system does when memory is short
    others = [one.error.code if one.error else one.value for one in stream]
    assert isinstance(others[0], int) and others[0] != first
    assert others[1] == 2


def test_an_item_that_no_worker_can_take_is_given_up(tmp_path: Path) -> None:
    fatal = Fatal(tmp_path / "log")
    found = list(imap(behave, [0, fatal, 2], processes=1, timeout_seconds=60.0))
    assert [one.error.code if one.error else one.value for one in found] == [0, "CODEC_CRASH", 2]
    assert fatal.log.read_text(encoding="utf-8") == "x" * (1 + MOST_RESTARTS)


@pytest.mark.parametrize(("total", "processes", "items", "share"), [(40, 4, 9, 8), (40, 4, 2, 16), (2, 4, 4, 1)])
def test_a_worker_may_take_its_part_of_the_memory(
    total: int, processes: int, items: int, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "memory_limit", lambda: total * GIB)
    found = list(imap(behave, ["room"] * items, processes=processes, timeout_seconds=60.0))
    for one in found:
        assert isinstance(one.value, int)
        assert one.value == pytest.approx(share * GIB, abs=GIB // 16)


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = psutil.virtual_memory().total
    for text, expected in {"max": whole, "1073741824": GIB, str(2 * whole): whole}.items():
        (tmp_path / "memory.max").write_text(f"{text}\n", encoding="ascii")
        monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "gone")
        monkeypatch.setattr(machine, "CGROUPS", {"": (tmp_path, "memory.max"), "memory": (tmp_path, "gone")})
        assert machine.memory_limit() == expected


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/user.slice/jobs/7", {"user.slice/memory.max": 3, "user.slice/jobs/memory.max": 2}, 2),
        ("0::/user.slice/jobs/7", {"user.slice/memory.max": 1, "user.slice/jobs/7/memory.max": 2}, 1),
        ("0::/user.slice", {"other.slice/memory.max": 1, "user.slice/memory.max": 4}, 4),
        ("0::/docker/as-the-host-says", {"memory.max": 2}, 2),
        ("5:cpu,memory:/jobs/7\n1:name=systemd:/", {"v1/jobs/memory.limit_in_bytes": 2, "jobs/memory.max": 1}, 2),
    ],
)
def test_the_tightest_of_nested_limits_counts(
    own: str, limits: dict[str, int], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {"": (tmp_path, "memory.max"), "memory": (tmp_path / "v1", "memory.limit_in_bytes")}
    monkeypatch.setattr(machine, "CGROUPS", groups)
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text(f"{own}\n", encoding="ascii")
    for name, gigabytes in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{gigabytes * GIB}\n", encoding="ascii")
    assert machine.memory_limit() == expected * GIB


def serve_without_limit(*arguments: Any) -> None:
    """Work as a worker does where the system limits no process."""
    serving.limit_memory = lambda _: False
    serving.serve(*arguments)


def test_the_parent_ends_a_worker_that_no_system_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "serve", serve_without_limit)
    assert outcomes([0, "grow", 2, "room for some", 4]) == [0, "TOO_LARGE", 2, 4 * 1024**2, 4]


def serve_at_the_third_try(pipe: Connection, *arguments: Any) -> None:
    """End while starting, twice."""
    with Path(os.environ["RESDX_TEST_STARTS"]).open("a+", encoding="ascii") as tries:
        tries.write("x")
        tries.seek(0)
        if len(tries.read()) < 3:
            os._exit(9)
    serving.serve(pipe, *arguments)


def test_a_worker_that_ends_while_it_starts_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESDX_TEST_STARTS", str(tmp_path / "starts"))
    monkeypatch.setattr(pool, "serve", serve_at_the_third_try)
    assert outcomes([0, 1, 2], processes=1) == [0, 1, 2]


def serve_never(*_: Any) -> None:
    os._exit(9)


def test_workers_that_never_start_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "serve", serve_never)
    with pytest.raises(WorkerError, match=r"could not start, 4 times in a row: .*exit status 9.*processes=1"):
        outcomes([0, 1], processes=1)


def test_the_smallest_part_is_enough_to_decode_and_prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_limit", lambda: GIB)
    voxels = make_voxels((64, 64, 8))
    for uid, syntax in {"1.2.3": ExplicitVRLittleEndian, "1.2.4": JPEG2000Lossless}.items():
        write_series(tmp_path / uid, voxels, transfer_syntax=syntax, identity=Identity(series_uid=uid))
    series = discover(tmp_path, ReadOptions()).series
    found = list(imap(partial(read, options=ReadOptions()), series, processes=2, timeout_seconds=60.0))
    assert len(found) == 2
    for one in found:
        assert one.value is not None, one.error
        np.testing.assert_array_equal(one.value.voxels[0], voxels)


def test_a_hang_is_ended() -> None:
    assert outcomes([0, "hang", 2, 3], timeout_seconds=1.0) == [0, "TIMEOUT", 2, 3]


def test_a_refusal_keeps_what_it_says() -> None:
    for processes in (0, 1):
        (one,) = imap(behave, ["refuse"], processes=processes, timeout_seconds=60.0)
        assert one.error is not None
        assert (one.error.code, one.error.message, one.error.stage) == ("GAP", "a slice is missing at 12.5 mm", "read")


@pytest.mark.parametrize("processes", [0, 1])
def test_a_bug_of_ours_costs_its_item_and_tells_no_patient(processes: int) -> None:
    items = [1, "bug", "unsendable", 4] if processes else [1, "bug", 4]
    found = list(imap(behave, items, processes=processes, timeout_seconds=60.0))
    assert [one.error.code if one.error else one.value for one in found] == [1, *["INTERNAL"] * (len(items) - 2), 4]
    error = found[1].error
    assert error is not None
    line = behave.__code__.co_firstlineno
    module, _, at = error.message.removeprefix("unexpected ZeroDivisionError in ").rpartition(":")
    assert module == behave.__module__
    assert line < int(at) < line + 25
    assert "Jane" not in str(error)


@pytest.mark.parametrize("processes", [0, 1])
def test_a_bug_of_ours_is_raised_to_who_debugs(processes: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "resdx"), pytest.raises(ZeroDivisionError, match="Jane") as caught:
        list(imap(behave, [1, "bug", 2], processes=processes, timeout_seconds=60.0))
    assert "in behave" in "".join(traceback.format_exception(caught.value)), "the worker's traceback is shown"
    assert not children()


@pytest.mark.parametrize("processes", [0, 1])
@pytest.mark.parametrize(("item", "kind"), [("full disk", OSError), ("our refusal", UsageError)])
def test_what_no_item_would_escape_is_raised(item: str, kind: type[Exception], processes: int) -> None:
    with pytest.raises(kind):
        list(imap(behave, [1, item, 2], processes=processes, timeout_seconds=60.0))
    assert not children()


def test_a_reader_that_stops_early_leaves_no_process() -> None:
    stream = imap(behave, list(range(50)), processes=2, timeout_seconds=60.0)
    assert next(stream).value == 0
    assert children()
    stream.close()
    assert not children()


def test_arrays_come_back_whole() -> None:
    arrays = [np.random.default_rng(seed).normal(size=(64, 64, 64)) for seed in range(4)]
    for one, array in zip(imap(behave, arrays, processes=2, timeout_seconds=60.0), arrays, strict=True):
        assert isinstance(one.value, np.ndarray)
        np.testing.assert_array_equal(one.value, array)


def test_a_script_without_a_main_guard_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from pipeline.workers import imap\n"
        "print('started')\n"
        "print([one.value for one in imap(abs, [-1, -2], processes=1, timeout_seconds=60.0)])\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["started", "[1, 2]", ""]


def test_results_that_the_parent_cannot_take_over_hang_nothing() -> None:
    """Each array that is kept holds a file open; without files left the run ends at once, and says so."""
    script = (
        "import resource\n"
        "import numpy as np\n"
        "from functools import partial\n"
        "from pipeline.workers import imap\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
        "try:\n"
        "    list(imap(partial(np.full, 400_000), range(50), processes=1, timeout_seconds=600.0))\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=200, check=False)
    assert done.stdout == "Too many open files\n", done.stderr
