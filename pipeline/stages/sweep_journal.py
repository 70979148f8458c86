"""The journal of a search, which several processes write in turns."""

import fcntl
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import TrackingError
from pipeline.tracking.journal import FileJournal
from pipeline.tracking.provenance import code_tags
from pipeline.tracking.replay import replay
from pipeline.tracking.settings import TrackingSettings
from pipeline.training.search.trials import TrialRow

log = logging.getLogger("resdx")

LOCK = "sweep.lock"


@contextmanager
def lead(folder: Path) -> Iterator[None]:
    """Hold the search's journal, tables and right to begin trials, for a moment; processes wait for each other."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def note(folder: Path, tracking: TrackingSettings, write: Callable[[FileJournal], object]) -> None:
    """Let `write` add to the journal of the search, and bring MLflow up to date; call while leading."""
    journal = FileJournal(folder)
    try:
        write(journal)
    finally:
        journal.close()
    if tracking.enabled:
        try:
            replay(folder, tracking)
        except TrackingError as error:
            log.warning("%s The search goes on; its journal is kept.", error)


def announce(settings: Mapping[str, str], journal: FileJournal) -> None:
    """Record code and settings."""
    journal.tags(code_tags())
    journal.params(settings)


def record_trial(row: TrialRow, best: TrialRow | None, journal: FileJournal) -> None:
    """Record the score of a trial, and the best so far."""
    values = {"trial/value": row.value, "best/value": best.value if best else None}
    journal.metrics({name: value for name, value in values.items() if value is not None}, step=row.number)


def close(files: Sequence[Path], best: str, journal: FileJournal) -> None:
    """Record the pages and which trial is the best; the search is over, for now."""
    for path in files:
        journal.artifact(path, "search")
    journal.tags({"resdx.best_trial": best})
    journal.end("FINISHED")
