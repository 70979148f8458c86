"""Predicts on this machine: scans are read in worker processes while the network runs here."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import cached_property, partial
from itertools import tee

from pipeline.package.package import ModelPackage
from pipeline.preprocessing.scans import prepare_series
from pipeline.stages.predict_answer import CaseResult, Job, Predictor
from pipeline.stages.predict_requests import Request
from pipeline.workers import imap

log = logging.getLogger("resdx")


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
        """See :meth:`pipeline.stages.predict_executors.Executor.results`.

        What memory did not hold beside others is tried once more behind all others: alone, with the memory of all.
        """
        large = []
        for result in self._pass(requests, self._job):
            if result.is_short_of_memory and self._job.limits.processes > 1:
                large.append(result.request)
            else:
                yield result
        if large:
            log.info("%d cases needed more memory than one of several may take; each is tried again alone", len(large))
            limits = self._job.limits
            memory = limits.memory_bytes and limits.memory_bytes * limits.processes
            alone = replace(self._job, limits=replace(limits, processes=1, memory_bytes=memory))
            yield from self._pass(large, alone)

    def _pass(self, requests: Iterable[Request], job: Job) -> Iterator[CaseResult]:
        asked, kept = tee(requests)
        limits = job.limits
        prepared = imap(
            partial(prepare_series, plan=self._package.plan, options=job.options),
            (request.slots for request in asked),
            processes=limits.processes,
            timeout_seconds=limits.seconds,
            memory_bytes=limits.memory_bytes,
        )
        with closing(prepared):
            for read in prepared:  # the network is loaded while the first scans are read
                yield self._predictor(next(kept), read)
