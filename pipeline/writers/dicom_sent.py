"""What was sent where, so that a run that is given again sends nothing twice.

One JSON line an object and destination, appended and brought to the disk before the next is sent. A UID of ours names
one content (see :func:`pipeline.writers.dicom_sources.derived_uid`), so that an object that changed is another one.
Only what the peer called stored is remembered: what it warned of or refused is sent again, and so is an object whose
answer a crash cut off; a PACS that holds it already takes it as the same.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from pipeline import atomic
from pipeline.atomic import naming_full_disk
from pipeline.domain.frozen import Frozen
from pipeline.errors import LedgerError
from pipeline.writers.dicom_sending import Destination, Sending, State, send, uid_of

RECORD = "sent.jsonl"
"""Name of the record in the folder of a prediction."""


class Sent(Frozen):
    """One object that a destination holds. UIDs of ours tell nothing of a patient."""

    uid: str
    destination: str
    moment: datetime


class SentRecord:
    """The record of one folder; one process at a time writes to it.

    Raises
    ------
    LedgerError
        A whole line is damaged; of the last, a crash may have left a part.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = {(one.uid, one.destination) for one in _lines(path)}

    def __len__(self) -> int:
        """How many objects are recorded, each once a destination."""
        return len(self._held)

    def holds(self, uid: str, destination: Destination) -> bool:
        """Whether this object was stored at this destination."""
        return (uid, destination.name) in self._held

    def add(self, uid: str, destination: Destination) -> None:
        """Remember an object; returns when it is on the disk."""
        if self.holds(uid, destination):
            return
        line = Sent(uid=uid, destination=destination.name, moment=datetime.now(UTC)).model_dump_json() + "\n"
        if not self._path.exists():
            atomic.write_bytes(self._path, b"")  # so that the file itself outlives a power cut
        with naming_full_disk(self._path), self._path.open("ab+") as file:
            _end_line(file.fileno())
            file.write(line.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        self._held.add((uid, destination.name))


def send_new(files: Sequence[Path], destination: Destination, record: SentRecord) -> Iterator[Sending]:
    """Send what `record` does not hold yet, and record each as it is stored; nothing is yielded for the others.

    Raises
    ------
    UsageError
        ``resdx[send]`` is not installed.
    """
    fresh = [path for path in files if not record.holds(uid_of(path), destination)]
    for outcome in send(fresh, destination) if fresh else ():
        if outcome.state is State.STORED:
            record.add(outcome.uid, destination)
        yield outcome


def _lines(path: Path) -> Iterator[Sent]:
    if not path.exists():
        return
    whole = path.read_bytes().split(b"\n")[:-1]  # what a crash left of a line has no end, and is cut off by the next
    for number, line in enumerate(whole, 1):
        try:
            yield Sent.model_validate_json(line)
        except ValidationError as error:
            raise LedgerError(
                f"Line {number} of {path} is damaged.", "Remove the line: what it named is sent once more."
            ) from error


def _end_line(descriptor: int) -> None:
    """Cut off what a crash left of a line."""
    size = os.fstat(descriptor).st_size
    end = size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        end -= 1
    if end < size:
        os.ftruncate(descriptor, end)
