"""One row a case, by a key that is a digest over all that the outcome depends on.

Another model, scan or setting is another key, so that a row is never stale. A row is there whole or not at all
(write-ahead log, synced before a commit returns). Several processes may share one folder: each claims the cases that it
works on, and takes over what a process claimed that is no longer alive.

No identifiers and no paths of scans stand in it: cases by their pseudonyms, files by their sha256. What is kept beside
the cases may name the folder of an exported model.
"""

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from pipeline.domain.prediction import Prediction
from pipeline.errors import LedgerError
from pipeline.ledger.database import REMEDY, connect, speaking, transaction
from pipeline.ledger.outcome import CaseOutcome
from pipeline.ledger.presence import came_ns, is_alive, naming_folder, others, present, process_of


class Ledger:
    """Outcomes by key, and who works on what. Opened by :func:`open_ledger`.

    Parameters
    ----------
    owner : str
        Who this process is to the others; see :mod:`pipeline.ledger.presence`.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, owner: str) -> None:
        self._path = path
        self._connection = connection
        self._owner = owner

    def __len__(self) -> int:
        with speaking(self._path):
            (count,) = self._connection.execute("SELECT count(*) FROM outcomes").fetchone()
        return int(count)

    @property
    def since_ns(self) -> int:
        """When the first came of the processes that work in this folder, this one included, by its file system's clock.

        What was last changed there before is of none of them, nor of one that comes later.
        """
        living = [self._owner, *others(self._path, self._owner)]
        return min((moment for name in living if (moment := came_ns(self._path, name)) is not None), default=0)

    @property
    def other_processes(self) -> tuple[str, ...]:
        """Numbers of the other processes that work in this folder."""
        return tuple(process_of(self._path, name) for name in others(self._path, self._owner))

    @property
    def revision(self) -> int:
        """Number of the last outcome that was committed; every commit has a higher one than those before."""
        with speaking(self._path):
            (last,) = self._connection.execute("SELECT coalesce(max(revision), 0) FROM outcomes").fetchone()
        return int(last)

    def find(self, key: str, *, after: int = 0) -> CaseOutcome | None:
        """Outcome under a key, or None.

        Parameters
        ----------
        after : int
            Only an outcome that was committed behind this revision.

        Raises
        ------
        LedgerError
            The row is damaged.
        """
        asked = "SELECT outcome, sha256 FROM outcomes WHERE key = ? AND revision > ?"
        with speaking(self._path):
            row = self._connection.execute(asked, (key, after)).fetchone()
        return None if row is None else self._read(key, *row)

    def claim(self, pseudonyms: Mapping[str, str], *, after: int) -> frozenset[str]:
        """Take cases that no other process works on and that have no outcome behind a revision; return keys of those.

        Claims end with :meth:`commit`, with the ledger, or with the process. From now until its commit the files of a
        case are nobody's; see :meth:`files`.

        Parameters
        ----------
        pseudonyms : mapping
            Key to the pseudonym of its case.
        """
        taken = []
        with speaking(self._path), transaction(self._connection):
            for key, pseudonym in pseudonyms.items():
                found = self._connection.execute(
                    "SELECT 1 FROM claims WHERE key = ? UNION SELECT 1 FROM outcomes WHERE key = ? AND revision > ?",
                    (key, key, after),
                ).fetchone()
                if found is None:
                    self._connection.execute("INSERT INTO claims VALUES (?, ?)", (key, self._owner))
                    self._connection.execute("DELETE FROM files WHERE pseudonym = ?", (pseudonym,))
                    taken.append(key)
        return frozenset(taken)

    def take_over(self) -> None:
        """End the claims of processes that are no longer alive."""
        with speaking(self._path):
            owners = self._connection.execute("SELECT DISTINCT owner FROM claims").fetchall()
            for (owner,) in owners:
                if owner != self._owner and not is_alive(self._path, owner):
                    self._connection.execute("DELETE FROM claims WHERE owner = ?", (owner,))

    @property
    def holds_claims(self) -> bool:
        """Whether this process works on a case."""
        with speaking(self._path):
            asked = "SELECT 1 FROM claims WHERE owner = ? LIMIT 1"
            return self._connection.execute(asked, (self._owner,)).fetchone() is not None

    def release(self) -> None:
        """End all claims of this process."""
        with speaking(self._path):
            self._connection.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))

    def commit(
        self,
        key: str,
        pseudonym: str,
        outcome: CaseOutcome,
        *,
        question: str = "",
        seconds: float = 0,
        files: Iterable[str] = (),
    ) -> None:
        """Keep the outcome of one case, in the place of an older one, and end the claim; on disk when this returns.

        Parameters
        ----------
        question : str
            Digest over all that the outcome depends on but the scan; see :meth:`earlier`.
        seconds : float
            How long it took.
        files : iterable of str
            Paths of the files that were written of it, below the folder of the ledger.

        Raises
        ------
        LedgerError
            The file cannot be written: the disk is full, say.
        """
        names = json.dumps(sorted(files))
        finished = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = outcome.model_dump_json()
        row = (key, pseudonym, question, text, _sealed(key, text), finished, round(seconds, 4))
        columns = "(key, pseudonym, question, outcome, sha256, finished, seconds)"
        with speaking(self._path), transaction(self._connection):
            self._connection.execute(f"INSERT OR REPLACE INTO outcomes {columns} VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            self._connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", (pseudonym, key, names))
            self._connection.execute("DELETE FROM claims WHERE key = ?", (key,))

    def files(self, key: str, pseudonym: str) -> tuple[Path, ...] | None:
        """Files that were written of a case, which bear its pseudonym alone; None where they are of another outcome."""
        with speaking(self._path):
            row = self._connection.execute("SELECT key, names FROM files WHERE pseudonym = ?", (pseudonym,)).fetchone()
        if row is None or row[0] != key:
            return None
        return tuple(self._path.parent / name for name in json.loads(row[1]))

    def seconds(self, keys: Collection[str]) -> list[float]:
        """How long each of some cases took, as far as they have an outcome."""
        with speaking(self._path):
            rows = self._connection.execute("SELECT key, seconds FROM outcomes").fetchall()
        return [float(seconds) for key, seconds in rows if key in keys]

    def earlier(self, question: str, current: Collection[str]) -> Iterator[Prediction]:
        """Yield predictions of a question whose keys are no longer current: their scans have changed, or are gone."""
        with speaking(self._path):
            rows = self._connection.execute(
                "SELECT key, outcome, sha256 FROM outcomes WHERE question = ? ORDER BY pseudonym, key", (question,)
            ).fetchall()
        for key, text, sha256 in rows:
            if key not in current and (prediction := self._read(key, text, sha256).prediction) is not None:
                yield prediction

    def keep(self, name: str, value: str) -> str:
        """Keep a value under a name, unless one stands there; return what stands there then."""
        with speaking(self._path), transaction(self._connection):
            self._connection.execute("INSERT OR IGNORE INTO kept VALUES (?, ?)", (name, value))
            (kept,) = self._connection.execute("SELECT value FROM kept WHERE name = ?", (name,)).fetchone()
        return str(kept)

    def kept(self, name: str) -> str | None:
        """Value that :meth:`keep` kept, or None."""
        with speaking(self._path):
            row = self._connection.execute("SELECT value FROM kept WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _read(self, key: str, text: str, sha256: str) -> CaseOutcome:
        message = f"{self._path} holds a row that is damaged or was edited."
        if _sealed(key, text) != sha256:
            raise LedgerError(message, REMEDY)
        try:
            return CaseOutcome.model_validate_json(text)
        except ValidationError as error:
            raise LedgerError(message, REMEDY) from error


def _sealed(key: str, text: str) -> str:
    """Sha256 by which accidents to a row are found, not forgers."""
    return hashlib.sha256(f"{key}\0{text}".encode()).hexdigest()


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    """Open or make the ledger of a folder; other processes may have it open too.

    Raises
    ------
    UsageError
        A process of another machine works in the folder, or it is a file.
    LedgerError
        The file is damaged, no ledger, or of another version; or the folder cannot be made or written.
    """
    with naming_folder(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with present(path) as owner, closing(connect(path)) as connection:
        ledger = Ledger(path, connection, owner)
        try:
            yield ledger
        finally:
            with suppress(LedgerError):  # on a full disk, say; claims end with the process all the same
                ledger.release()
