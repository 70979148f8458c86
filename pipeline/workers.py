"""A pool of worker processes in which a crash, a hang or a memory explosion costs one item.

``concurrent.futures`` breaks the whole pool when one worker dies, and cannot end a task that hangs; decoders of others'
files do both. Here each worker has a pipe of its own: the parent knows which item it holds, and replaces it alone.
Workers are spawned, never forked: a fork of a process with PyTorch's threads can deadlock.
"""

import errno
import logging
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Generic, TypeVar

from pipeline.errors import RejectedInput, ResdxError, refusal_of
from pipeline.machine import memory_share

Item = TypeVar("Item")
Value = TypeVar("Value")
log = logging.getLogger("resdx")

IN_FLIGHT_PER_WORKER = 3
"""Results that may wait, a worker, for an earlier one: bounds memory while the order is kept."""

SECONDS_PER_CASE = 600.0
"""An item that takes longer is refused with TIMEOUT where nothing else is said: decoding takes seconds."""

START_SECONDS = 120.0
"""Longest that a worker may take to start and import what it runs."""

MOST_RESTARTS = 3
"""How often an item is given to another worker because its worker ended before it began."""

OF_THE_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""System errors that every item would meet: a disk that is full or cannot be written."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Value]):
    """What became of one item: its value, or the reason for which it is refused."""

    index: int
    value: Value | None
    error: RejectedInput | None = None


def imap(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    processes: int,
    timeout_seconds: float,
    memory_bytes: int | None = None,
) -> Generator[Outcome[Value], None, None]:
    """Run `function` on each item in worker processes and yield the outcomes in the order of the items.

    Any other exception than RejectedInput is a bug of ours: it costs its item, which is refused INTERNAL. With debug
    logging it is raised here, with the traceback of the worker.

    Parameters
    ----------
    function : callable
        Importable by name (or a ``functools.partial`` of such); raises RejectedInput to refuse its item.
    processes : int
        Number of workers; 0 runs in this process, without limits.
    timeout_seconds : float
        Longest that one item may take; beyond it the worker is killed and the item refused with TIMEOUT.
    memory_bytes : int or None
        Address space (RLIMIT_AS) a worker may take beyond what it holds when idle; beyond it the item is refused with
        TOO_LARGE. Default: see :func:`pipeline.machine.memory_share`. Where the system has no such limit (macOS) it is
        not enforced.

    Raises
    ------
    ResdxError, OSError
        What no other item would escape: an error that speaks to the user, a disk that is full or cannot be written.
    """
    work = list(items)
    if processes <= 0 or not work:
        for index, item in enumerate(work):
            value, error = _attempt(function, item, debug=log.isEnabledFor(logging.DEBUG))
            yield _outcome(index, value, error)
        return
    processes = min(processes, len(work))
    pool = _Pool(function, work, processes, timeout_seconds, memory_bytes or memory_share(processes))
    try:
        yield from pool.run()
    finally:
        pool.close()


def _attempt(function: Callable[[Item], Value], item: Item, *, debug: bool) -> tuple[Value | None, Exception | None]:
    """Value of one item; or its refusal; or, where it is not the item's alone, the exception that ends the run."""
    try:
        return function(item), None
    except (RejectedInput, MemoryError) as error:
        return None, error if isinstance(error, RejectedInput) else refusal_of(error)
    except Exception as error:  # noqa: BLE001 - one item may not end the run
        if debug or isinstance(error, ResdxError) or getattr(error, "errno", None) in OF_THE_MACHINE:
            return None, error
        return None, refusal_of(error)


def _outcome(index: int, value: Value | None, error: Exception | None) -> Outcome[Value]:
    if error is not None and not isinstance(error, RejectedInput):
        raise error
    return Outcome(index, value, error)


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    index: int | None = None
    deadline: float = field(default=float("inf"))
    began: bool = False
    """Whether it has said that it works on its item: only then can the item be to blame for its end."""


class _Pool(Generic[Item, Value]):
    """Workers, the items they hold, and the outcomes that wait for their turn."""

    def __init__(
        self,
        function: Callable[[Item], Value],
        work: list[Item],
        processes: int,
        timeout_seconds: float,
        memory_bytes: int,
    ) -> None:
        self.function, self.work = function, work
        self.processes, self.timeout, self.memory = processes, timeout_seconds, memory_bytes
        self.context = multiprocessing.get_context("spawn")
        self.todo = deque(range(len(work)))
        self.done: dict[int, Outcome[Value]] = {}
        self.restarts: Counter[int] = Counter()
        self.workers: list[_Worker] = []

    def run(self) -> Iterator[Outcome[Value]]:
        self.workers = [self.start() for _ in range(self.processes)]
        window = self.processes * IN_FLIGHT_PER_WORKER
        for turn in range(len(self.work)):
            while turn not in self.done:
                self.hand_out(limit=turn + window)
                self.collect()
            yield self.done.pop(turn)

    def start(self) -> _Worker:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(
            target=_serve,
            args=(theirs, self.function, self.memory, log.isEnabledFor(logging.DEBUG)),
            name="resdx-worker",
            daemon=True,
        )
        with _importable_main():
            process.start()
        theirs.close()
        return _Worker(process, ours, index=-1, deadline=time.monotonic() + START_SECONDS)

    def hand_out(self, limit: int) -> None:
        for worker in self.workers:
            if worker.index is None and self.todo and self.todo[0] < limit:
                worker.index = self.todo.popleft()
                worker.deadline, worker.began = time.monotonic() + self.timeout, False
                with suppress(OSError):  # the worker has died; collect() sees it
                    worker.pipe.send(self.work[worker.index])

    def collect(self) -> None:
        busy = [worker for worker in self.workers if worker.index is not None]
        nearest = min(worker.deadline for worker in busy)
        ready = wait([worker.pipe for worker in busy], timeout=max(0.0, nearest - time.monotonic()))
        for worker in busy:
            if worker.pipe in ready:
                self.receive(worker)
            elif time.monotonic() >= worker.deadline:
                self.replace(worker, "TIMEOUT", f"reading took longer than {self.timeout:g} s")

    def receive(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            self.replace(worker, "CODEC_CRASH", f"the decoder ended its process ({_ending(worker.process.exitcode)})")
            return
        index = worker.index
        assert index is not None
        if message is None and index >= 0:
            worker.deadline, worker.began = time.monotonic() + self.timeout, True
            return
        worker.index, worker.deadline = None, float("inf")
        if index < 0:  # it has started
            return
        value, error = message
        self.done[index] = _outcome(index, value, error)

    def replace(self, worker: _Worker, code: str, reason: str) -> None:
        _end(worker)
        assert worker.index is not None
        if worker.index < 0:
            raise RuntimeError(f"a worker process could not start: {reason}")
        if not worker.began and self.restarts[worker.index] < MOST_RESTARTS:
            self.restarts[worker.index] += 1
            self.todo.appendleft(worker.index)
        else:
            self.done[worker.index] = Outcome(worker.index, None, RejectedInput(code, reason))
        self.workers[self.workers.index(worker)] = self.start()

    def close(self) -> None:
        for worker in self.workers:
            _end(worker)


def _end(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return signal.Signals(-exitcode).name
    return f"exit status {exitcode}"


class _importable_main:  # noqa: N801 - used as a statement
    """Hide ``__main__`` while a worker is spawned, so that it is not run again in the worker.

    Spawning imports the parent's main module, which breaks callers whose script has no ``__main__`` guard. What runs
    here is importable by its own name and needs no such import.
    """

    def __enter__(self) -> None:
        self.main = sys.modules["__main__"]
        sys.modules["__main__"] = type(sys)("__main__")

    def __exit__(self, *_: object) -> None:
        sys.modules["__main__"] = self.main


def _serve(pipe: Connection, function: Callable[[Item], Value], memory_bytes: int, debug: bool) -> None:
    """Answer each item with None when its work begins and with (value, error) when it is done. Runs in the worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory(memory_bytes)
    with suppress(EOFError, OSError):
        pipe.send(None)
        while True:
            item = pipe.recv()
            pipe.send(None)
            pipe.send_bytes(_answer(function, item, debug))
    os._exit(0)


def _answer(function: Callable[[Item], Value], item: Item, debug: bool) -> memoryview:
    """Pickle (value, error); what cannot be pickled is an error too."""
    value, error = _attempt(function, item, debug=debug)
    if error is not None and not isinstance(error, RejectedInput):
        error.add_note("".join(traceback.format_exception(error)))  # a traceback does not cross
    try:
        return ForkingPickler.dumps((value, error))
    except Exception as failure:  # noqa: BLE001 - one item may not end its worker
        return ForkingPickler.dumps((None, refusal_of(failure)))


def _limit_memory(memory_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        log.debug("this system has no memory limit for a process")
        return
    try:
        idle = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        limit = idle + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (OSError, ValueError) as error:
        log.debug("the memory limit of a worker is not enforced: %s", error)
