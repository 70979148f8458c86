"""What was sent where, so that a run that is given again sends nothing twice.

One JSON line an object and destination, appended and brought to the disk before the next is sent. A UID of ours names
one content (see :func:`pipeline.writers.dicom_sources.derived_uid`), so that an object that changed is another one.
What the peer stored is remembered, with a complaint or without. What it refused is sent again, and so is an object
whose answer a crash cut off; a PACS that holds it already takes it as the same.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from pipeline import atomic
from pipeline.atomic import naming_full_disk
from pipeline.domain.frozen import Frozen
from pipeline.errors import LedgerError
from pipeline.writers.dicom_sending import SUCCESS, Destination, Sending, send, uid_of

RECORD = "sent.jsonl"
"""Name of the record in the folder of a prediction."""


class FileState(Frozen):
    """A file as it was when it was looked at: what stands under its name with this size and time is the same."""

    name: str
    size: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> Self | None:
        """Look at a file; None where there is none."""
        try:
            found = path.stat()
        except FileNotFoundError:
            return None
        return cls(name=path.name, size=found.st_size, modified_ns=found.st_mtime_ns)


class Sent(Frozen):
    """One object that a destination holds. UIDs of ours tell nothing of a patient, nor do names of our files.

    Attributes
    ----------
    status : int
        What the destination answered: other than 0x0000 where it stored the object and complained.
    file : FileState or None
        Where the object lay, so that it need not be opened to be known again.
    """

    uid: str
    destination: str
    moment: datetime
    status: int = SUCCESS
    file: FileState | None = None


class SentRecord:
    """The record of one folder; one process at a time writes to it.

    Raises
    ------
    LedgerError
        A whole line is damaged; of the last, a crash may have left a part.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: set[tuple[str, str]] = set()
        self._files: set[tuple[FileState, str]] = set()
        for one in _lines(path):
            self._keep(one)

    def __len__(self) -> int:
        """How many objects are recorded, each once a destination."""
        return len(self._held)

    def holds(self, uid: str, destination: Destination) -> bool:
        """Whether this object was stored at this destination."""
        return (uid, destination.name) in self._held

    def holds_file(self, file: FileState | None, destination: Destination) -> bool:
        """Whether the object in this file was stored at this destination, as far as can be told without opening it."""
        return file is not None and (file, destination.name) in self._files

    def add(self, uid: str, destination: Destination, status: int = SUCCESS, file: FileState | None = None) -> None:
        """Remember an object; returns when it is on the disk."""
        if self.holds(uid, destination):
            return
        one = Sent(uid=uid, destination=destination.name, moment=datetime.now(UTC), status=status, file=file)
        if not self._path.exists():
            atomic.write_bytes(self._path, b"")  # so that the file itself outlives a power cut
        with naming_full_disk(self._path), self._path.open("ab+") as record:
            _end_line(record.fileno())
            record.write(one.model_dump_json().encode("utf-8") + b"\n")
            record.flush()
            os.fsync(record.fileno())
        self._keep(one)

    def _keep(self, one: Sent) -> None:
        self._held.add((one.uid, one.destination))
        if one.file is not None:
            self._files.add((one.file, one.destination))


def send_new(files: Sequence[Path], destination: Destination, record: SentRecord) -> Iterator[Sending]:
    """Send what `record` does not hold yet, and record each as it is stored; nothing is yielded for the others.

    Raises
    ------
    UsageError
        ``resdx[send]`` is not installed.
    """
    seen = {path: FileState.of(path) for path in files}  # before they are read: what replaces one later is another
    unknown = [path for path in files if not record.holds_file(seen[path], destination)]
    fresh = [path for path in unknown if not record.holds(uid_of(path), destination)]
    for outcome in send(fresh, destination) if fresh else ():
        if outcome.state.is_held:
            record.add(outcome.uid, destination, outcome.status or SUCCESS, seen[outcome.path])
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
