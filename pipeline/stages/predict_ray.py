"""Predicts on a cluster with Ray: the same readers and engines, in processes of other machines.

Scans are read by path, so that all machines must see them under the same one. The model travels, and so does the export
that its engine runs: each process that runs it unpacks a copy and verifies its digests. Nothing but the caller writes.
"""

import logging
import os
import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported: nothing is reported from a hospital

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError

from pipeline.domain.codes import Code
from pipeline.domain.plan import Plan
from pipeline.domain.series import Series
from pipeline.engines.exports import PARITY, read_report
from pipeline.errors import RejectedInput, UsageError
from pipeline.ledger import CaseOutcome
from pipeline.machine import memory_share
from pipeline.package.package import ModelPackage, load_package
from pipeline.preprocessing.scans import PreparedScan, prepare_series
from pipeline.readers.options import ReadOptions
from pipeline.stages.predict_alone import trying_alone
from pipeline.stages.predict_answer import CaseResult, Job, Limits, Predictor
from pipeline.stages.predict_requests import Request, refusal_of_case
from pipeline.workers import Outcome, imap

log = logging.getLogger("resdx")

IN_FLIGHT_PER_READER = 3
"""Cases that are claimed and not answered yet, a reader: bounds memory, and what others on the folder wait for."""

MOST_TRIES = 3
"""How often a case is given to another process because its own was lost, with its machine say."""

LOST = (RayActorError, OutOfMemoryError)

Slots = tuple[Series | None, ...]
Files = Mapping[str, bytes]


class Reader:
    """Reads and prepares scans, one after another, in a process of its own that has limits."""

    def __init__(self, plan: Plan, options: ReadOptions) -> None:
        self._prepare = partial(prepare_series, plan=plan, options=options)
        self._asked: deque[Slots] = deque()
        self._limits: Limits | None = None
        self._read: Generator[Outcome[PreparedScan], None, None] | None = None

    def ready(self) -> None:
        """Say that it has been placed on a machine."""

    def read(self, slots: Slots, limits: Limits) -> Outcome[PreparedScan]:
        """Read one case; the process that reads lives on for the next one, unless that has other limits."""
        self._asked.append(slots)
        if self._read is None or limits != self._limits:
            self._start(limits)
        assert self._read is not None
        try:
            return next(self._read)
        except BaseException:
            self._read = None
            raise

    def _start(self, limits: Limits) -> None:
        if self._read is not None:
            self._read.close()
        self._limits = limits
        self._read = imap(
            self._prepare,
            iter(self._asked.popleft, None),  # taken one by one, each when the one before is done
            processes=min(1, limits.processes),
            timeout_seconds=limits.seconds,
            memory_bytes=limits.memory_bytes,
        )


class Runner:
    """Holds the model and answers prepared scans.

    Parameters
    ----------
    package, exported : mapping of str to bytes
        Files of the model, and of the export that its engine runs; none where it runs none.
    """

    def __init__(self, package: Files, exported: Files, job: Job) -> None:
        self._package, self._exported, self._job = package, exported, job

    @cached_property
    def _predictor(self) -> Predictor:
        self._folder = tempfile.TemporaryDirectory(prefix="resdx-model-")  # as long as this process
        folder = Path(self._folder.name)
        job = replace(self._job, package=_unpacked(self._package, folder / "package"))
        if self._exported:
            place = _unpacked(self._exported, folder / "exported")
            job = replace(job, engine=job.engine.model_copy(update={"exported": place}))
        return Predictor.of(load_package(job.package), job)

    def ready(self) -> None:
        """Load the model."""
        assert self._predictor

    def answer(self, request: Request, read: Outcome[PreparedScan]) -> CaseResult:
        """Answer a request that was read."""
        return self._predictor(request, read)


@dataclass
class _Flow:
    """Cases on their way; who reads, who answers, and who is free. Handles and references are Ray's.

    Whoever has not been placed on a machine yet is not waited for: a cluster that is full goes on with what it has.
    """

    starting: dict[Any, tuple[Any, list[Any]]]
    readers: list[Any]
    runners: list[Any]
    reading: dict[Any, tuple[Any, Request]] = field(default_factory=dict)
    waiting: deque[tuple[Any, Request]] = field(default_factory=deque)
    answering: dict[Any, tuple[Any, Request, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, readers: Iterable[Any], runners: Iterable[Any]) -> "_Flow":
        """Ask everybody whether they are there."""
        flow = cls({}, [], [])
        for actors, free in ((readers, flow.readers), (runners, flow.runners)):
            flow.starting |= {actor.ready.remote(): (actor, free) for actor in actors}
        return flow

    def __len__(self) -> int:
        return len(self.reading) + len(self.waiting) + len(self.answering)

    def progress(self) -> Iterator[CaseResult]:
        """Wait until something is done, and yield the answers."""
        pending = [*self.starting, *self.reading, *self.answering]
        done, _ = ray.wait(pending, fetch_local=False)  # a scan goes from reader to runner, not by way of this process
        for one in done:
            if one in self.starting:
                actor, free = self.starting.pop(one)
                _get(one)
                free.append(actor)
            elif one in self.reading:
                reader, request = self.reading.pop(one)
                self.readers.append(reader)
                self.waiting.append((one, request))
            else:
                runner, request, _ = self.answering.pop(one)
                self.runners.append(runner)
                yield _result(one, request)


class RayExecutor:
    """Implements :class:`pipeline.stages.predict_executors.Executor` with actors of Ray, which live as long as it.

    Parameters
    ----------
    address : str
        Of a cluster that runs (``ray://HOST:10001``, ``HOST:6379`` or ``auto``); empty starts Ray on this machine.
    runners, readers : int
        Processes that hold the model, and that read.
    processors : int
        That each runner is given. Where the engine runs on a GPU, it is given one of its own.
    """

    def __init__(
        self, job: Job, package: ModelPackage, *, address: str, runners: int, readers: int, processors: int
    ) -> None:
        self._job, self._package = job, package
        self._address, self._runner_count, self._reader_count = address, runners, readers
        self._processors = processors
        self._gpus = 1 if getattr(job.engine, "device", "cpu") == "cuda" else 0

    def results(self, requests: Iterable[Request]) -> Iterator[CaseResult]:
        """See :meth:`pipeline.stages.predict_executors.Executor.results`."""
        return trying_alone(self._pass, requests, self._job.limits)

    def _pass(self, requests: Iterable[Request], limits: Limits) -> Iterator[CaseResult]:
        """Predict requests; each reader may take an equal share of this machine's memory where nothing else is said."""
        readers = max(1, limits.processes)
        each = replace(limits, memory_bytes=limits.memory_bytes or memory_share(readers))
        source = iter(requests)
        if (first := next(source, None)) is None:
            return
        asked, is_exhausted = chain([first], source), False
        flow = _Flow.of(*self._actors)
        while True:
            while flow.readers and len(flow.reading) < readers and len(flow) < readers * IN_FLIGHT_PER_READER:
                if (one := next(asked, None)) is None:
                    is_exhausted = True
                    break
                reader = flow.readers.pop()
                flow.reading[reader.read.remote(one.slots, each)] = (reader, one)
            while flow.waiting and flow.runners:
                read, one = flow.waiting.popleft()
                runner = flow.runners.pop()
                flow.answering[runner.answer.remote(one, read)] = (runner, one, read)  # kept for another try
            if is_exhausted and not len(flow):
                return
            yield from flow.progress()

    @cached_property
    def _actors(self) -> tuple[list[Any], list[Any]]:
        """Readers and runners, which hold their processors until this is gone."""
        self._connect()
        lasting = {"max_restarts": -1, "max_task_retries": MOST_TRIES}
        reader = ray.remote(Reader).options(num_cpus=1, **lasting)
        runner = ray.remote(Runner).options(num_cpus=self._processors, num_gpus=self._gpus, **lasting)
        package, exported = map(ray.put, (_files(self._package.folder), _exported_files(self._job)))
        job = replace(self._job, package=Path())  # a folder of this machine says nothing to another one
        # runners first: on a cluster that is full, many readers without a runner would wait for ever
        runners = [runner.remote(package, exported, job) for _ in range(self._runner_count)]
        return [reader.remote(self._package.plan, job.options) for _ in range(self._reader_count)], runners

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        init = partial(ray.init, log_to_driver=False, logging_level=logging.ERROR)
        if self._address:
            init(address=self._address)
            return
        needed = self._reader_count + self._runner_count * self._processors
        init(address="local", num_cpus=needed, include_dashboard=False)
        gpus = int(ray.cluster_resources().get("GPU", 0))  # type: ignore[no-untyped-call]
        if gpus < self._runner_count * self._gpus:
            message = f"{self._runner_count} runners of a GPU each are asked for, this machine has {gpus}."
            raise UsageError(message, "Give a smaller ray.runners, or engine.device=cpu.")


def _result(answer: Any, request: Request) -> CaseResult:
    try:
        result = _get(answer)
    except LOST as error:
        log.debug("lost", exc_info=error)
        lost = RejectedInput(Code.CODEC_CRASH, f"the process that worked on it was lost {MOST_TRIES + 1} times")
        return CaseResult(request, CaseOutcome(refusal=refusal_of_case(request, lost)), 0.0)
    assert isinstance(result, CaseResult)
    return result


def _get(reference: Any) -> Any:
    """Return what an actor returned, or raise what it raised, which speaks to the user."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        raise error.cause from error


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _exported_files(job: Job) -> dict[str, bytes]:
    """Files of the export that an engine runs; whoever unpacks them verifies them."""
    folder: Path | None = getattr(job.engine, "exported", None)
    if folder is None:
        return {}
    names = (PARITY, *read_report(folder).files)
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _unpacked(files: Files, folder: Path) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
