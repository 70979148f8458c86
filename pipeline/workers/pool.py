"""The parent's side: which worker holds which item, what it may take, and who takes its place."""

import errno
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Generic

from pipeline.errors import RejectedInput, WorkerError
from pipeline.machine import memory_share
from pipeline.workers.answers import Item, Outcome, Value, attempt, outcome_of
from pipeline.workers.limits import WATCH_SECONDS, held_bytes
from pipeline.workers.passing import receive
from pipeline.workers.serving import serve

log = logging.getLogger("resdx")

IN_FLIGHT_PER_WORKER = 3
"""Results that may wait, a worker, for an earlier one: bounds memory while the order is kept."""

SECONDS_PER_CASE = 600.0
"""An item that takes longer is refused with TIMEOUT where nothing else is said: decoding takes seconds."""

START_SECONDS = 120.0
"""Longest that a worker may take to start and import what it runs."""

DYING_SECONDS = 5.0
"""How long a worker whose pipe has ended may take to end itself."""

MOST_RESTARTS = 3
"""How often an item is given to another worker because its worker ended before it began; and how often in a row a
worker may end while it starts."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that tell libraries how many threads to take."""

STARTING = -1
"""Index of no item: what a worker holds until it has started."""


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
    items : iterable
        Taken one by one as workers become free, so that a source may decide late what comes next.
    processes : int
        Number of workers; 0 runs in this process, without limits.
    timeout_seconds : float
        Longest that one item may take; beyond it the worker is killed and the item refused with TIMEOUT.
    memory_bytes : int or None
        Address space (RLIMIT_AS) a worker may take beyond what it holds when idle; beyond it the item is refused with
        TOO_LARGE. Default: see :func:`pipeline.machine.memory_share`. Where the system has no such limit (macOS) the
        parent watches how much memory it holds instead.

    Raises
    ------
    ResdxError, OSError
        What no other item would escape: an error that speaks to the user, a disk that is full or cannot be written.
    """
    if processes <= 0:
        for index, item in enumerate(items):
            value, error = attempt(function, item, debug=log.isEnabledFor(logging.DEBUG))
            yield outcome_of(index, value, error)
        return
    work = iter(items)
    first = list(islice(work, processes))
    if not first:
        return
    processes = len(first)
    pool = _Pool(function, chain(first, work), processes, timeout_seconds, memory_bytes or memory_share(processes))
    try:
        yield from pool.run()
    finally:
        pool.close()


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    index: int | None = None
    deadline: float = field(default=float("inf"))
    idle_bytes: int | None = None
    """What it held when it had started, where nothing but the parent limits it."""
    began: bool = False
    """Whether it has said that it works on its item: only then can the item be to blame for its end."""


class _Pool(Generic[Item, Value]):
    """Workers, the items they hold, and the outcomes that wait for their turn."""

    def __init__(
        self,
        function: Callable[[Item], Value],
        work: Iterator[Item],
        processes: int,
        timeout_seconds: float,
        memory_bytes: int,
    ) -> None:
        self.function, self.work = function, enumerate(work)
        self.processes, self.timeout, self.memory = processes, timeout_seconds, memory_bytes
        self.context = multiprocessing.get_context("spawn")
        self.held: dict[int, Item] = {}
        self.is_exhausted = False
        self.again: deque[int] = deque()
        self.done: dict[int, Outcome[Value]] = {}
        self.restarts: Counter[int] = Counter()
        self.workers: list[_Worker] = []

    def run(self) -> Iterator[Outcome[Value]]:
        self.workers = [self.start() for _ in range(self.processes)]
        window = self.processes * IN_FLIGHT_PER_WORKER
        turn = 0
        while True:
            while turn not in self.done:
                self.hand_out(most=window)
                if self.is_exhausted and not self.held:
                    return
                self.collect()
            del self.held[turn]
            yield self.done.pop(turn)
            turn += 1

    def start(self) -> _Worker:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(
            target=serve,
            args=(theirs, self.function, self.memory, log.isEnabledFor(logging.DEBUG)),
            name="resdx-worker",
            daemon=True,
        )
        with _importable_main(), _one_thread():
            process.start()
        theirs.close()
        return _Worker(process, ours, index=STARTING, deadline=time.monotonic() + START_SECONDS)

    def hand_out(self, most: int) -> None:
        """Give work to idle workers; no more than `most` items are held, those included whose outcome waits."""
        for worker in self.workers:
            if worker.index is None and (index := self.next_item(most)) is not None:
                worker.index = index
                worker.deadline, worker.began = time.monotonic() + self.timeout, False
                with suppress(OSError):  # the worker has died; collect() sees it
                    worker.pipe.send(self.held[index])

    def next_item(self, most: int) -> int | None:
        if self.again:
            return self.again.popleft()
        if self.is_exhausted or len(self.held) >= most:
            return None
        for index, item in self.work:
            self.held[index] = item
            return index
        self.is_exhausted = True
        return None

    def collect(self) -> None:
        busy = [worker for worker in self.workers if worker.index is not None]
        patience = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
        if any(worker.idle_bytes is not None for worker in busy):
            patience = min(patience, WATCH_SECONDS)
        ready = wait([worker.pipe for worker in busy], timeout=patience)
        for worker in busy:
            if worker.pipe in ready:
                self.receive(worker)
            elif time.monotonic() >= worker.deadline and worker.index == STARTING:
                self.replace(worker, "TIMEOUT", f"it took longer than {START_SECONDS:g} s")
            elif time.monotonic() >= worker.deadline:
                self.replace(worker, "TIMEOUT", f"reading took longer than {self.timeout:g} s")
            elif worker.idle_bytes is not None and held_bytes(worker.process.pid) > worker.idle_bytes + self.memory:
                self.replace(worker, "TOO_LARGE", f"reading took more than {self.memory} bytes of memory")

    def receive(self, worker: _Worker) -> None:
        try:
            message = receive(worker.pipe)
        except (EOFError, OSError) as failure:
            self.bury(worker, failure)
            return
        index = worker.index
        assert index is not None
        if message is None and index >= 0:
            worker.deadline, worker.began = time.monotonic() + self.timeout, True
            return
        worker.index, worker.deadline = None, float("inf")
        if index < 0:  # it has started, and says whether the system limits it
            worker.idle_bytes = None if message else held_bytes(worker.process.pid)
            self.restarts[STARTING] = 0
            return
        assert isinstance(message, tuple)
        value, error = message
        self.done[index] = outcome_of(index, value, error)

    def bury(self, worker: _Worker, failure: Exception) -> None:
        """Replace a worker that has ended; or one that lives, whose result this process cannot take over."""
        worker.process.join(DYING_SECONDS)
        ending = worker.process.exitcode
        if ending is not None:
            self.replace(worker, "CODEC_CRASH", f"the decoder ended its process ({_ending(ending)})")
        elif getattr(failure, "errno", None) in (errno.EMFILE, errno.ENFILE):  # no other item would fare better
            raise failure
        else:
            self.replace(worker, "TOO_LARGE", f"its result could not be taken over: {failure}")

    def replace(self, worker: _Worker, code: str, reason: str) -> None:
        _end(worker)
        assert worker.index is not None
        if worker.index == STARTING and self.restarts[STARTING] >= MOST_RESTARTS:
            raise WorkerError(
                f"A worker process could not start, {MOST_RESTARTS + 1} times in a row: {reason}.",
                "Does the machine have memory left, and the user processes (`ulimit -u`)? `processes=1` needs less; "
                "`processes=0` reads in the main process, without limits.",
            )
        if worker.index == STARTING:
            self.restarts[STARTING] += 1
        elif not worker.began and self.restarts[worker.index] < MOST_RESTARTS:
            self.restarts[worker.index] += 1
            self.again.appendleft(worker.index)
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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let libraries of linear algebra take one thread in the process that is started: there is one for each processor.

    Theirs wait for each other by spinning, which takes the processors from everybody else.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


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
