"""Tracking while a run goes on: beside it, never in its way."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from pipeline import atomic
from pipeline.errors import StoppedBySignal, TrackingError
from pipeline.tracking.journal import FOLDER, FileJournal, read_journal
from pipeline.tracking.provenance import code_tags
from pipeline.tracking.replay import replay
from pipeline.tracking.settings import TrackingSettings
from pipeline.tracking.system import measure

log = logging.getLogger("resdx")

SETTINGS = "settings.json"

LAST_REPLAY_SECONDS = 60.0
"""Longest that the end of a run waits for MLflow; what is missing then is left to ``resdx sync``."""


@contextmanager
def tracked(run_folder: Path, settings: TrackingSettings) -> Iterator[FileJournal]:
    """Open the journal of a run and replay it to MLflow from a thread until the block ends.

    A run folder that has a journal goes on with it, in the same MLflow run. MLflow being away costs a warning and
    nothing else. The block's exception decides the run's status: KILLED for a signal, FAILED for any other.
    """
    journal = FileJournal(run_folder)
    journal.tags(code_tags())
    save_settings(run_folder, settings)
    stop = threading.Event()
    threads = list(_threads(journal, settings, stop))
    for thread in threads:
        thread.start()
    status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
    try:
        yield journal
        status = "FINISHED"
    except (StoppedBySignal, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=LAST_REPLAY_SECONDS)
        journal.end(status)
        journal.close()
        if settings.enabled:
            _last_replay(run_folder, settings)


def save_settings(run_folder: Path, settings: TrackingSettings) -> None:
    """Keep where a run is tracked beside its journal, without user and password."""
    shown = settings.model_copy(update={"uri": settings.store(run_folder).shown if settings.uri else ""})
    atomic.write_text(run_folder / FOLDER / SETTINGS, shown.model_dump_json(indent=2) + "\n")


def load_settings(run_folder: Path) -> TrackingSettings:
    """Where a run is tracked.

    Raises
    ------
    TrackingError
        If it was never tracked or the file is damaged.
    """
    path = run_folder / FOLDER / SETTINGS
    try:
        return TrackingSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise TrackingError(f"{run_folder} was not tracked: {FOLDER}/{SETTINGS} is missing.", "Name a run.") from error
    except ValidationError as error:
        raise TrackingError(f"{path} is damaged.", "Give the tracking settings on the command line.") from error


def _threads(journal: FileJournal, settings: TrackingSettings, stop: threading.Event) -> Iterator[threading.Thread]:
    opened = read_journal(journal.run_folder)[0].time_ms / 1000
    quiet = _Quiet()

    def record_system() -> None:
        # seconds since the run began, so that a resumed run's curve goes on where it stopped
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
        except TrackingError as error:
            if not self.away:
                log.warning("%s The run goes on; its journal is kept.", error)
            self.away = True
        else:
            if self.away:
                log.info("MLflow is back; the journal was replayed.")
            self.away = False


def _last_replay(run_folder: Path, settings: TrackingSettings) -> None:
    """Send what is left, waiting a bounded time."""
    thread = threading.Thread(target=_Quiet().replay, args=(run_folder, settings), name="resdx-replay", daemon=True)
    thread.start()
    thread.join(timeout=LAST_REPLAY_SECONDS)
    if thread.is_alive():
        log.warning("MLflow does not answer in time; later run: resdx sync %s", run_folder.name)
