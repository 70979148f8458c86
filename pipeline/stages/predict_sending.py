"""Sending the DICOM objects of a batch to the PACS: each once, whoever was killed; what failed is tried again."""

import fcntl
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.progress import track
from pipeline.stages.predict_outputs import DICOM
from pipeline.writers.dicom_sending import Destination, State
from pipeline.writers.dicom_sent import RECORD, SentRecord, send_new

log = logging.getLogger("resdx")


@dataclass(frozen=True, slots=True)
class SendingResult:
    """How many objects went out now, and how many did not."""

    stored: int = 0
    failed: int = 0


def send_objects(out: Path, destination: Destination, cases: Collection[str]) -> SendingResult:
    """Send the objects of some cases that this destination does not hold yet.

    One process sends at a time; another one waits, and finds what was sent meanwhile.
    """
    files = [path for path in sorted((out / DICOM).glob("*.dcm")) if path.name.split("_")[0] in cases]
    stored = failed = 0
    with _alone(out / f"{RECORD}.lock"):
        for outcome in track(send_new(files, destination, SentRecord(out / RECORD)), "send objects"):
            if outcome.state is State.STORED:
                stored += 1
                continue
            failed += 1
            log.warning("%s: %s, %s", outcome.path.name, outcome.state.value, outcome.reason)
    return SendingResult(stored, failed)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
