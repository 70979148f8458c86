"""The ledger of a folder: what became of each case, kept case by case, so that a run that is killed goes on.

One SQLite file holds one row a case, by a key that is a digest over all that the outcome depends on: another model,
scan or setting is another key, so that a row is never stale. A row is there whole or not at all (write-ahead log,
synced before a commit returns). One process at a time holds the folder; a second one waits, and then finds the work
done.

No identifiers and no paths stand in it: cases by their pseudonyms, files by their sha256.
"""

import fcntl
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Self

from pydantic import ValidationError, model_validator

from pipeline.domain.codes import Code
from pipeline.domain.frozen import Frozen
from pipeline.domain.prediction import Prediction
from pipeline.errors import LedgerError

log = logging.getLogger("resdx")

SCHEMA_VERSION = 1
APPLICATION_ID = 0x52534458
"""``RSDX``: tells a ledger from any other SQLite file."""

BUSY_SECONDS = 60.0
"""How long to wait for somebody who looks into the file with another program."""

TABLE = """
CREATE TABLE outcomes (
    key TEXT PRIMARY KEY,
    pseudonym TEXT NOT NULL,
    outcome TEXT NOT NULL
) WITHOUT ROWID
"""
REMEDY = "Give another `out`; the cases are then predicted again."


class CaseRefusal(Frozen):
    """Why a case has no prediction.

    Attributes
    ----------
    sha256 : str
        Of the guilty file; empty where no single one is.
    """

    code: Code
    stage: str
    message: str
    remedy: str = ""
    sha256: str = ""


class CaseOutcome(Frozen):
    """What became of one case: a prediction or a refusal."""

    prediction: Prediction | None = None
    refusal: CaseRefusal | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.prediction is None) == (self.refusal is None):
            raise ValueError("an outcome is a prediction or a refusal")
        return self


class Ledger:
    """Outcomes by key. Opened by :func:`open_ledger`, which also holds the folder."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    def __len__(self) -> int:
        with _speaking(self._path):
            (count,) = self._connection.execute("SELECT count(*) FROM outcomes").fetchone()
        return int(count)

    def find(self, key: str) -> CaseOutcome | None:
        """Outcome under a key, or None.

        Raises
        ------
        LedgerError
            The row is damaged.
        """
        with _speaking(self._path):
            row = self._connection.execute("SELECT outcome FROM outcomes WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return CaseOutcome.model_validate_json(row[0])
        except ValidationError as error:
            raise LedgerError(f"{self._path} holds a row that is damaged or was edited.", REMEDY) from error

    def commit(self, key: str, pseudonym: str, outcome: CaseOutcome) -> None:
        """Keep the outcome of one case, in the place of an older one; on disk when this returns.

        Raises
        ------
        LedgerError
            The file cannot be written: the disk is full, say.
        """
        row = (key, pseudonym, outcome.model_dump_json())
        with _speaking(self._path):
            self._connection.execute("INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?)", row)


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    """Open or make the ledger of a folder and hold it for this process; waits while another process does.

    Raises
    ------
    LedgerError
        The file is damaged, no ledger, or of another version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path), closing(_connect(path)) as connection:
        yield Ledger(path, connection)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock beside the ledger; the operating system lets go of it however the process ends."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another process works in %s; waiting until it ends", path.parent)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _connect(path: Path) -> sqlite3.Connection:
    with _speaking(path), ExitStack() as stack:
        # isolation_level None: each statement is a transaction of its own, unless BEGIN says otherwise
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        stack.callback(connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _check(path, connection)
        stack.pop_all()
    return connection


def _check(path: Path, connection: sqlite3.Connection) -> None:
    """Make the table in a new file; refuse another one's file, another version and a damaged one."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not application:
        connection.executescript(
            f"BEGIN IMMEDIATE; {TABLE}; PRAGMA user_version = {SCHEMA_VERSION}; "
            f"PRAGMA application_id = {APPLICATION_ID}; COMMIT;"
        )
        return
    if application != APPLICATION_ID:
        raise LedgerError(f"{path} is an SQLite file, but no ledger of resdx.", "Give another `out`.")
    if version != SCHEMA_VERSION:
        raise LedgerError(
            f"{path} has schema version {version}, this resdx reads {SCHEMA_VERSION}.",
            f"Use the resdx that wrote it. {REMEDY}",
        )
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise LedgerError(f"{path} is damaged.", REMEDY)


@contextmanager
def _speaking(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into one for the user."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LedgerError(f"{path} cannot be used: {error}.", "Check the disk and who else has it open.") from error
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path} is damaged: {error}.", REMEDY) from error
