"""Predicts on a cluster with Ray Data: the same readers and engines, in processes of other machines.

Scans are read by path, so that all machines must see them under the same one. The model travels, and so does the export
that its engine runs: each process that runs it unpacks a copy and verifies its digests. Nothing but the caller writes,
and what is lost on the way is not answered.
"""

import logging
import os
import pickle
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when it is imported: nothing is reported from a hospital

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray

from pipeline.domain.plan import Plan
from pipeline.engines.exports import PARITY, read_report
from pipeline.machine import memory_share
from pipeline.package.package import ModelPackage, load_package
from pipeline.preprocessing.scans import prepare_series
from pipeline.readers.options import ReadOptions
from pipeline.stages.predict_alone import trying_alone
from pipeline.stages.predict_answer import CaseResult, Job, Limits, Predictor
from pipeline.stages.predict_requests import Request
from pipeline.workers import imap

log = logging.getLogger("resdx")

AT_ONCE = 4096
"""Cases of one data set: they are claimed together, and the processes that hold the model are started anew for each."""

READ_AT_ONCE = 8
"""Cases that one call reads: a process with limits is started for each call."""

Rows = Mapping[str, NDArray[Any]]
Files = Mapping[str, bytes]


class Reader:
    """Reads and prepares scans, one after another, in a process of its own that has limits."""

    def __init__(self, plan: Plan, options: ReadOptions, limits: Limits) -> None:
        self._prepare, self._limits = partial(prepare_series, plan=plan, options=options), limits

    def __call__(self, rows: Rows) -> Rows:
        """Read requests; return each with what became of it."""
        requests: list[Request] = _unpack(rows)
        read = imap(
            self._prepare,
            [request.slots for request in requests],
            processes=min(1, self._limits.processes),
            timeout_seconds=self._limits.seconds,
            memory_bytes=self._limits.memory_bytes,
        )
        return _pack(list(zip(requests, read, strict=True)))


class Runner:
    """Holds the model and answers prepared scans.

    Parameters
    ----------
    package, exported : mapping of str to bytes
        Files of the model, and of the export that its engine runs; none where it runs none.
    """

    def __init__(self, package: Files, exported: Files, job: Job) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="resdx-model-")  # as long as this process
        folder = Path(self._folder.name)
        if exported:
            place = _unpacked(exported, folder / "exported")
            job = replace(job, engine=job.engine.model_copy(update={"exported": place}))
        self._predictor = Predictor.of(load_package(_unpacked(package, folder / "package")), job)

    def __call__(self, rows: Rows) -> Rows:
        """Answer requests that were read."""
        return _pack([self._predictor(request, read) for request, read in _unpack(rows)])


class RayExecutor:
    """Implements :class:`pipeline.stages.predict_executors.Executor` with Ray Data.

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
        self._address, self._runners, self._readers, self._processors = address, runners, readers, processors
        self._gpus = 1 if getattr(job.engine, "device", "cpu") == "cuda" else 0

    def results(self, requests: Iterable[Request]) -> Iterator[CaseResult]:
        """See :meth:`pipeline.stages.predict_executors.Executor.results`."""
        return trying_alone(self._pass, requests, self._job.limits)

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        init = partial(ray.init, log_to_driver=False, logging_level=logging.ERROR)
        if self._address:
            init(address=self._address)
        else:
            needed = self._readers + self._runners * self._processors
            init(address="local", num_cpus=needed, include_dashboard=False)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.WARNING)

    def _pass(self, requests: Iterable[Request], limits: Limits) -> Iterator[CaseResult]:
        """Predict requests; each reader may take an equal share of this machine's memory where nothing else is said."""
        readers = min(self._readers, max(1, limits.processes))
        each = replace(limits, memory_bytes=limits.memory_bytes or memory_share(readers))
        source = iter(requests)
        while some := list(islice(source, AT_ONCE)):
            self._connect()
            yield from self._data_set(some, each, readers)

    def _data_set(self, requests: list[Request], limits: Limits, readers: int) -> Iterator[CaseResult]:
        job = replace(self._job, package=Path())  # a folder of this machine says nothing to another one
        prepared = ray.data.from_items([{"row": pickle.dumps(one)} for one in requests]).map_batches(
            Reader,
            batch_size=READ_AT_ONCE,
            fn_constructor_args=(self._package.plan, job.options, limits),
            compute=ray.data.ActorPoolStrategy(size=readers),
            num_cpus=1,
        )
        answered = prepared.map_batches(
            Runner,
            batch_size=1,
            fn_constructor_args=(_files(self._package.folder), _exported_files(self._job), job),
            compute=ray.data.ActorPoolStrategy(size=self._runners),
            num_cpus=self._processors,
            num_gpus=self._gpus,
        )
        for row in answered.iter_rows():
            result = pickle.loads(row["row"])  # noqa: S301 - our own processes wrote it
            assert isinstance(result, CaseResult)
            yield result


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


def _pack(values: list[Any]) -> Rows:
    return {"row": np.array([pickle.dumps(value) for value in values], dtype=object)}


def _unpack(rows: Rows) -> list[Any]:
    return [pickle.loads(row) for row in rows["row"]]  # noqa: S301 - our own processes wrote it
