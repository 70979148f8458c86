"""The journal of one run on disk: append-only, one JSON line a record, readable after kill -9 at any point."""

import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from pipeline.atomic import naming_full_disk
from pipeline.credentials import without_credentials
from pipeline.errors import TrackingError
from pipeline.tracking.records import LINE, AnyRecord, Metrics

FOLDER = "tracking"
"""Sub-folder of the run folder in which the journal and the state of its replay live."""

JOURNAL = "journal.jsonl"

DESCRIPTION = "mlflow.note.content"
"""Tag that MLflow shows as the description of a run."""

PRIVATE_ENDINGS = ("files.csv", "rejections.csv", "retry.csv")
"""Tables that may carry identifiers and source paths: never recorded, so never sent anywhere."""


def journal_path(run_folder: Path) -> Path:
    """Where the journal of a run folder stands."""
    return run_folder / FOLDER / JOURNAL


class FileJournal:
    """A :class:`pipeline.domain.journal.Journal` in ``RUN_FOLDER/tracking/journal.jsonl``.

    Each record is on the disk (fsync) when its method returns. A last line that a crash tore is cut off when the
    journal is opened again. One process at a time writes; its threads may share the journal.

    A run that goes on repeats what came after its last checkpoint. Metrics that stood in the journal when it was opened
    are not written again, so that no metric has two values at one step.

    Raises
    ------
    TrackingError
        If the journal is damaged anywhere but at its end, or a private table is to be recorded.
    DiskFull
        There is no space for a record; none of it remains.
    """

    def __init__(self, run_folder: Path) -> None:
        self.run_folder = run_folder.resolve()
        path = journal_path(self.run_folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        known, length = _scan(path)
        self._seq = known[-1].seq if known else 0
        self._before = {(name, one.step) for one in known if isinstance(one, Metrics) for name in one.values}
        self._lock = threading.Lock()
        self._file = path.open("ab", buffering=0)
        self._file.truncate(length)
        self._path, self._length = path, length
        if known:
            self._append({"kind": "resumed"})
        else:
            self._append({"kind": "opened", "journal": uuid.uuid4().hex})

    def params(self, values: Mapping[str, str | int | float | bool]) -> None:
        """Record settings; URLs without user and password."""
        self._append(
            {"kind": "params", "values": {name: without_credentials(str(value)) for name, value in values.items()}}
        )

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags."""
        self._append({"kind": "tags", "values": dict(values)})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record measured values at a step; NaN and infinity are kept as such."""
        fresh = {name: float(value) for name, value in values.items() if (name, step) not in self._before}
        if fresh or not values:
            self._append({"kind": "metrics", "values": fresh, "step": step})

    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        """Record one measured value at many steps; all of them take one fsync."""
        fresh = [(step, value) for step, value in points if (name, step) not in self._before]
        self._append(*({"kind": "metrics", "values": {name: float(value)}, "step": step} for step, value in fresh))

    def artifact(self, path: Path, folder: str = "") -> None:
        """Record a file or folder as it is now; it is sent only while it stays so."""
        files = fingerprint_files(path)
        if private := next((name for name in (path.name, *files) if name.endswith(PRIVATE_ENDINGS)), None):
            message = f"{Path(private).name} may carry patient identifiers and is never tracked."
            raise TrackingError(message, "Record the other files one by one.")
        self._append({"kind": "artifact", "path": self._stored(path), "folder": folder, "files": files})

    def model(self, package: Path, digest: str, *, name: str = "", alias: str = "") -> None:
        """Record a model package to be logged and, under `name`, registered."""
        self._append({"kind": "model", "path": self._stored(package), "digest": digest, "name": name, "alias": alias})

    def dataset(
        self, name: str, digest: str, context: str, columns: Sequence[str], profile: Mapping[str, object]
    ) -> None:
        """Record cases that the run uses: counts, never identifiers; see :class:`pipeline.tracking.records.Dataset`."""
        told = {"name": name, "digest": digest, "context": context, "profile": json.dumps(profile)}
        self._append({"kind": "dataset", "columns": tuple(columns), **told})

    def describe(self, text: str) -> None:
        """Record Markdown that MLflow shows at the head of the run; the last one counts."""
        self.tags({DESCRIPTION: text})

    def end(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Record that the run is over."""
        self._append({"kind": "ended", "status": status})

    def close(self) -> None:
        """Close the file. The journal may be opened again."""
        self._file.close()

    def _stored(self, path: Path) -> str:
        resolved = path.resolve()
        inside = resolved.is_relative_to(self.run_folder)
        return (resolved.relative_to(self.run_folder) if inside else resolved).as_posix()

    def _append(self, *rows: Mapping[str, object]) -> None:
        if not rows:
            return
        with self._lock, naming_full_disk(self._path):
            time_ms = time.time_ns() // 1_000_000
            stamped = [
                {"seq": self._seq + number, "time_ms": time_ms} | dict(row) for number, row in enumerate(rows, 1)
            ]
            lines = b"".join(LINE.validate_python(row).model_dump_json().encode("utf-8") + b"\n" for row in stamped)
            try:
                self._write(lines)
            except OSError:
                self._file.truncate(self._length)  # a part of a line would spoil the journal for what comes after it
                raise
            self._seq += len(rows)
            self._length += len(lines)

    def _write(self, lines: bytes) -> None:
        left = memoryview(lines)
        while left:  # a disk that gets full takes a part, and only then refuses
            left = left[self._file.write(left) :]
        os.fsync(self._file.fileno())


def read_journal(run_folder: Path) -> tuple[AnyRecord, ...]:
    """All whole records of a run folder, oldest first; a torn last line is left out.

    Raises
    ------
    TrackingError
        If there is no journal, or it is damaged anywhere but at its end.
    """
    path = journal_path(run_folder)
    if not path.is_file():
        raise TrackingError(f"{run_folder} holds no journal ({FOLDER}/{JOURNAL}).", "Name the folder of a run.")
    return _scan(path)[0]


def fingerprint_files(path: Path) -> dict[str, str]:
    """Sha256 of a file (under ``""``) or of every file below a folder (under its relative path)."""
    found = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    return {"" if entry == path else entry.relative_to(path).as_posix(): _sha256(entry) for entry in found}


def _scan(path: Path) -> tuple[tuple[AnyRecord, ...], int]:
    """Whole records and the number of bytes they take."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    found: list[AnyRecord] = []
    length = 0
    for number, line in enumerate(lines, start=1):
        try:
            record = LINE.validate_json(line) if line.endswith(b"\n") else None
        except ValidationError:
            record = None
        if record is None or record.seq != number:
            if number == len(lines):
                break
            message = f"{path} is damaged at line {number} of {len(lines)}."
            raise TrackingError(message, "Restore it from a backup, or move it away to begin a new MLflow run.")
        found.append(record)
        length += len(line)
    return tuple(found), length


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
