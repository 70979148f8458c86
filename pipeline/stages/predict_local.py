"""Predicts on this machine: scans are read in worker processes while the network runs here."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cached_property, partial
from itertools import tee

from pipeline.package.package import ModelPackage
from pipeline.preprocessing.scans import prepare_series
from pipeline.stages.predict_alone import trying_alone
from pipeline.stages.predict_answer import CaseResult, Job, Limits, Predictor
from pipeline.stages.predict_requests import Request
from pipeline.workers import imap


class LocalExecutor:
    """Implements :class:`pipeline.stages.predict_executors.Executor` with processes of this machine.

    Parameters
    ----------
    package : ModelPackage
        The model of `job`, verified.
    """

    def __init__(self, job: Job, package: ModelPackage) -> None:
        self._job, self._package = job, package

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor.of(self._package, self._job)

    def results(self, requests: Iterable[Request]) -> Iterator[CaseResult]:
        """See :meth:`pipeline.stages.predict_executors.Executor.results`."""
        return trying_alone(self._pass, requests, self._job.limits)

    def _pass(self, requests: Iterable[Request], limits: Limits) -> Iterator[CaseResult]:
        asked, kept = tee(requests)
        prepared = imap(
            partial(prepare_series, plan=self._package.plan, options=self._job.options),
            (request.slots for request in asked),
            processes=limits.processes,
            timeout_seconds=limits.seconds,
            memory_bytes=limits.memory_bytes,
        )
        with closing(prepared):
            for read in prepared:  # the network is loaded while the first scans are read
                yield self._predictor(next(kept), read)
