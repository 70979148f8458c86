"""What memory did not hold beside others is tried once more, alone: the same rule wherever cases are predicted."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from pipeline.stages.predict_answer import CaseResult, Limits
from pipeline.stages.predict_requests import Request

log = logging.getLogger("resdx")

Pass = Callable[[Iterable[Request], Limits], Iterator[CaseResult]]
"""Predicts requests in so many processes, of which each may take so much."""


def trying_alone(run: Pass, requests: Iterable[Request], limits: Limits) -> Iterator[CaseResult]:
    """Predict requests; those that are TOO_LARGE again behind all others, one by one, with the memory of all.

    Where one process reads anyhow, another try would not fare better.
    """
    large = []
    for result in run(requests, limits):
        if result.is_short_of_memory and limits.processes > 1:
            large.append(result.request)
        else:
            yield result
    if large:
        log.info("%d cases needed more memory than one of several may take; each is tried again alone", len(large))
        memory = limits.memory_bytes and limits.memory_bytes * limits.processes
        yield from run(large, replace(limits, processes=1, memory_bytes=memory))
