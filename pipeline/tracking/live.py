"""Tracking while a run goes on: beside it, never in its way."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from pipeline import atomic
from pipeline.errors import DiskFull, OutdoneError, StoppedBySignal, TrackingError
from pipeline.tracking.journal import FOLDER, FileJournal, read_journal
from pipeline.tracking.provenance import code_tags, requirements
from pipeline.tracking.replay import replay
from pipeline.tracking.runs import lineage
from pipeline.tracking.settings import TrackingSettings, save_settings
from pipeline.tracking.system import measure

log = logging.getLogger("resdx")

REQUIREMENTS = "requirements.txt"

LAST_REPLAY_SECONDS = 60.0
"""Longest that the end of a run waits for MLflow, all in all; what is missing then is left to ``resdx sync``."""


@contextmanager
def tracked(run_folder: Path, settings: TrackingSettings) -> Iterator[FileJournal]:
    """Open the journal of a run and replay it to MLflow from a thread until the block ends.

    A run folder that has a journal goes on with it, in the same MLflow run. MLflow being away costs a warning and
    nothing else. The block's exception decides the run's status: KILLED for a signal or where
    a search gives the run up, FAILED for any other.

    Raises
    ------
    TrackingError
        Before the block: the journal is damaged, or the parent's folder holds no tracked run.
    """
    lineage(run_folder, settings)
    journal = FileJournal(run_folder)
    journal.tags(code_tags())
    listed = run_folder / FOLDER / REQUIREMENTS
    atomic.write_text(listed, requirements())
    journal.artifact(listed, "environment")
    save_settings(run_folder, settings)
    stop = threading.Event()
    threads = list(_threads(journal, settings, stop))
    for thread in threads:
        thread.start()
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
    try:
        yield journal
        status = "FINISHED"
    except (StoppedBySignal, OutdoneError, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        stop.set()
        deadline = time.monotonic() + LAST_REPLAY_SECONDS
        for thread in threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))
        try:
            journal.end(status)
        except DiskFull as error:  # what ended the run is the news
            log.warning("%s", error)
        journal.close()
        if settings.enabled:
            _last_replay(run_folder, settings, deadline)


def _threads(journal: FileJournal, settings: TrackingSettings, stop: threading.Event) -> Iterator[threading.Thread]:
    opened = read_journal(journal.run_folder)[0].time_ms / 1000
    quiet = _Quiet()

    def record_system() -> None:
        # seconds since the run began, so that a resumed run's curve goes on where it stopped
        with suppress(DiskFull):  # it is the run that stops of it and says so
            journal.metrics(measure(), step=int(time.time() - opened))

    def send() -> None:
        quiet.replay(journal.run_folder, settings)

    if settings.system_seconds:
        yield _every(settings.system_seconds, record_system, stop, "resdx-system")
    if settings.enabled:
        yield _every(settings.replay_seconds, send, stop, "resdx-replay")


def _every(seconds: float, action: Callable[[], None], stop: threading.Event, name: str) -> threading.Thread:
    """Make a thread that acts now and then until it is stopped; a daemon, so that it never keeps a process alive."""

    def loop() -> None:
        while not stop.wait(seconds):
            action()

    return threading.Thread(target=loop, name=name, daemon=True)


class _Quiet:
    """Replays, and warns only when MLflow goes away or comes back."""

    def __init__(self) -> None:
        self.away = False

    def replay(self, run_folder: Path, settings: TrackingSettings) -> None:
        try:
            replay(run_folder, settings)
        except (TrackingError, DiskFull) as error:
            if not self.away:
                log.warning("%s The run goes on; its journal is kept.", error)
            self.away = True
        else:
            if self.away:
                log.info("MLflow is back; the journal was replayed.")
            self.away = False


def _last_replay(run_folder: Path, settings: TrackingSettings, deadline: float) -> None:
    """Send what is left, waiting until `deadline` at the latest."""
    thread = threading.Thread(target=_Quiet().replay, args=(run_folder, settings), name="resdx-replay", daemon=True)
    thread.start()
    thread.join(timeout=max(0.0, deadline - time.monotonic()))
    if thread.is_alive():
        log.warning("MLflow does not answer in time; later run: resdx sync %s", run_folder)
