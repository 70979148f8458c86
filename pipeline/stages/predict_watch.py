"""Following a folder that grows: a series is taken when nothing in it has changed for a while.

Slices of a series arrive one by one, and nobody says when the last one is there. A series is waited for until all of
its files have been quiet; one with a gap is refused as ever, and tried again when its files change. What comes later
still makes another prediction, and the earlier one is superseded.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import Field, NonNegativeFloat, PositiveFloat

from pipeline.config import Settings
from pipeline.domain.series import SourceFile
from pipeline.errors import ScansGone
from pipeline.stages.predict_pass import Batch, Passed, run_pass
from pipeline.stages.predict_sharing import Retry

log = logging.getLogger("resdx")


class WatchSettings(Settings):
    """Settings of following a folder."""

    enabled: bool = Field(default=False, description="Follow the folder until SIGTERM, instead of ending.")
    quiet_seconds: NonNegativeFloat = Field(
        default=60.0, description="A series is taken when none of its files has changed for so long."
    )
    every_seconds: PositiveFloat = Field(default=10.0, description="How often the folder is looked at.")
    retry_seconds: PositiveFloat = Field(
        default=3600.0,
        description="How often cases are tried again that were refused for a passing reason, and objects sent again "
        "that the PACS did not take.",
    )
    idle_seconds: PositiveFloat | None = Field(
        default=None,
        description="End when nothing has been waited for, predicted or sent for so long; null never ends.",
    )


class Quiet:
    """Tells which files have not changed for a while, by what this process saw of them.

    A file is new when it is first seen, whatever its times say: copies often keep those of the original, and the clock
    of a file server need not be ours.

    Parameters
    ----------
    seconds : float
    clock : callable
        Seconds since any moment.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._seen: dict[Path, tuple[tuple[int, int | None], float]] = {}

    def restless(self, files: Iterable[SourceFile]) -> frozenset[Path]:
        """Look at all files of a folder; return those that have changed lately."""
        now = self._clock()
        seen = {}
        for file in files:
            state = (file.size, file.modified_ns)
            before = self._seen.get(file.path)
            seen[file.path] = before if before is not None and before[0] == state else (state, now)
        self._seen = seen
        return frozenset(path for path, (_, since) in seen.items() if now - since < self._seconds)


def watch(batch: Batch, settings: WatchSettings, wait: Callable[[float], None] = time.sleep) -> Iterator[Passed]:
    """Make pass after pass over a folder, and yield each that had something to say.

    Where the folder is gone (a share that is not mounted), it is waited for.
    """
    quiet = Quiet(settings.quiet_seconds)
    batch = replace(batch, restless=lambda found: quiet.restless(found.files))
    before: Passed | None = None
    is_gone = False
    busy = tried = time.monotonic()
    while settings.idle_seconds is None or time.monotonic() - busy < settings.idle_seconds:
        retry = batch.retry if before is None else Retry.NONE
        if time.monotonic() - tried >= settings.retry_seconds:
            retry, tried = Retry.PASSING, time.monotonic()
        try:
            passed = run_pass(replace(batch, retry=retry), before)
        except ScansGone as error:
            if not is_gone:
                log.warning("%s", error)
            is_gone = True
            wait(settings.every_seconds)
            continue
        is_gone = False
        is_news = before is None or passed.summary is not before.summary
        if is_news or (before is not None and passed.sent.failures != before.sent.failures):
            yield passed
            busy = time.monotonic()
        if passed.arriving:
            if before is None or passed.arriving != before.arriving:
                log.info("%d files are still arriving", passed.arriving)
            busy = time.monotonic()
        before = passed
        wait(settings.every_seconds)
