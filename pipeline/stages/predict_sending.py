"""Sending the DICOM objects of a batch to the PACS: each once, whoever was killed; what failed is tried again."""

import fcntl
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.progress import track
from pipeline.stages.predict_outputs import DICOM
from pipeline.writers.dicom_objects import object_paths
from pipeline.writers.dicom_sending import Destination, Sending
from pipeline.writers.dicom_sent import RECORD, FileState, SentRecord, send_new

log = logging.getLogger("resdx")

NAMED = 3
"""Objects that are named of all that met one answer; of the others their number is told."""

NONE_FAILED: frozenset[FileState] = frozenset()


@dataclass(frozen=True, slots=True)
class SendingResult:
    """How many objects went out now, and which the PACS still does not hold.

    Attributes
    ----------
    stored : int
        Those that it stored now, with a complaint or without.
    failures : frozenset of FileState
        Those that it did not take, now or before.
    """

    stored: int = 0
    failures: frozenset[FileState] = NONE_FAILED

    @property
    def failed(self) -> int:
        """How many the PACS does not hold."""
        return len(self.failures)


def send_objects(
    out: Path,
    destination: Destination,
    cases: Collection[str],
    findings: Sequence[str],
    held_back: Collection[FileState] = NONE_FAILED,
) -> SendingResult:
    """Send the objects of some cases that this destination does not hold yet.

    One process sends at a time; another one waits, and finds what was sent meanwhile.

    Parameters
    ----------
    findings : sequence of str
        Of the model: they name the files.
    held_back : collection of FileState
        Objects that failed lately and are not tried now; those that are still there stay among the failures.

    Raises
    ------
    LedgerError
        The record of what was sent is damaged.
    DiskFull
        It cannot be written.
    """
    possible = sorted(path for case in cases for path in object_paths(out / DICOM, case, findings))
    files = {path: state for path in possible if (state := FileState.of(path)) is not None}
    failures = {state for state in files.values() if state in held_back}
    asked = [path for path, state in files.items() if state not in failures]
    stored = 0
    with _alone(out / f"{RECORD}.lock"):
        for outcome in _told(track(send_new(asked, destination, SentRecord(out / RECORD)), "send objects")):
            if outcome.state.is_held:
                stored += 1
            else:
                failures.add(files[outcome.path])
    return SendingResult(stored, frozenset(failures))


def _told(outcomes: Iterable[Sending]) -> Iterator[Sending]:
    """Log what did not go well: a PACS that refuses one object for a reason often refuses all for the same."""
    answers: Counter[tuple[str, str]] = Counter()
    for one in outcomes:
        answer = one.state.value, one.reason
        answers[answer] += bool(one.reason)
        if 0 < answers[answer] <= NAMED:
            log.warning("%s: %s, %s", one.path.name, *answer)
        yield one
    for answer, count in answers.items():
        if count > NAMED:
            log.warning("%d more objects: %s, %s", count - NAMED, *answer)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
