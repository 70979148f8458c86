"""Progress of long work: a bar with counts, rate and time left on a terminal, plain lines otherwise."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
log = logging.getLogger("resdx")

PLAIN_INTERVAL_SECONDS = 10.0
"""Without a terminal, one line at most this often."""

WORTH_A_LINE_SECONDS = 1.0
"""Work that took less leaves no line at its end: a folder that is followed is looked at every few seconds."""


def track(items: Iterable[Item], title: str, total: int | None = None) -> Iterator[Item]:
    """Yield `items`, showing how far they are."""
    if sys.stderr.isatty():
        yield from _bar(items, title, total)
    else:
        yield from _lines(items, title, total)


def _bar(items: Iterable[Item], title: str, total: int | None) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    rate = TextColumn("{task.fields[rate]}")
    with Progress(*columns, rate, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total, rate="")
        started = time.monotonic()
        for count, item in enumerate(items, start=1):
            yield item
            progress.update(task, advance=1, rate=_rate(count, started))


def _lines(items: Iterable[Item], title: str, total: int | None) -> Iterator[Item]:
    started = last = time.monotonic()
    count = 0
    for count, item in enumerate(items, start=1):
        yield item
        if (now := time.monotonic()) - last >= PLAIN_INTERVAL_SECONDS:
            last = now
            log.info("%s: %d%s, %s", title, count, f" of {total}" if total else "", _rate(count, started))
    if count and (taken := time.monotonic() - started) >= WORTH_A_LINE_SECONDS:
        log.info("%s: %d done in %.1f s", title, count, taken)


def _rate(count: int, started: float) -> str:
    return f"{count / max(time.monotonic() - started, 1e-9):.1f}/s"
