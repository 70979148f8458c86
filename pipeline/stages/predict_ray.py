"""Predicts on a cluster with Ray Data: the same readers and engines, in processes of other machines.

Scans are read by path, so that all machines must see them under the same one. The model travels: each process that runs
it unpacks a copy and verifies its digests. Nothing but the caller writes, and what is lost on the way is not answered.
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
from pipeline.package.package import ModelPackage, load_package
from pipeline.preprocessing.scans import prepare_series
from pipeline.stages.predict_answer import CaseResult, Job, Predictor
from pipeline.stages.predict_requests import Request
from pipeline.workers import imap

log = logging.getLogger("resdx")

AT_ONCE = 512
"""Cases of one data set: they are claimed together."""

READ_AT_ONCE = 8
"""Cases that one call reads: a process with limits is started for each call."""

Rows = Mapping[str, NDArray[Any]]


class Reader:
    """Reads and prepares scans, one after another, in a process of its own that has limits."""

    def __init__(self, plan: Plan, job: Job) -> None:
        self._prepare, self._limits = partial(prepare_series, plan=plan, options=job.options), job.limits

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
    """Holds the model and answers prepared scans."""

    def __init__(self, files: Mapping[str, bytes], job: Job) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="resdx-model-")
        for name, content in files.items():
            Path(self._folder.name, name).write_bytes(content)
        self._predictor = Predictor.of(load_package(Path(self._folder.name)), job)

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
        That each runner is given.
    """

    def __init__(
        self, job: Job, package: ModelPackage, *, address: str, runners: int, readers: int, processors: int
    ) -> None:
        self._job, self._package = job, package
        self._address, self._runners, self._readers, self._processors = address, runners, readers, processors

    def results(self, requests: Iterable[Request]) -> Iterator[CaseResult]:
        """See :meth:`pipeline.stages.predict_executors.Executor.results`."""
        source = iter(requests)
        while some := list(islice(source, AT_ONCE)):
            self._connect()
            yield from self._pass(some)

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

    def _pass(self, requests: list[Request]) -> Iterator[CaseResult]:
        files = {path.name: path.read_bytes() for path in sorted(self._package.folder.iterdir())}
        job = replace(self._job, package=Path())  # a folder of this machine says nothing to another one
        prepared = ray.data.from_items([{"row": pickle.dumps(one)} for one in requests]).map_batches(
            Reader,
            batch_size=READ_AT_ONCE,
            fn_constructor_args=(self._package.plan, job),
            compute=ray.data.ActorPoolStrategy(size=self._readers),
            num_cpus=1,
        )
        answered = prepared.map_batches(
            Runner,
            batch_size=1,
            fn_constructor_args=(files, job),
            compute=ray.data.ActorPoolStrategy(size=self._runners),
            num_cpus=self._processors,
        )
        for row in answered.iter_rows():
            result = pickle.loads(row["row"])  # noqa: S301 - our own processes wrote it
            assert isinstance(result, CaseResult)
            yield result


def _pack(values: list[Any]) -> Rows:
    return {"row": np.array([pickle.dumps(value) for value in values], dtype=object)}


def _unpack(rows: Rows) -> list[Any]:
    return [pickle.loads(row) for row in rows["row"]]  # noqa: S301 - our own processes wrote it
