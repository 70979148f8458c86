"""The SQLite file of a ledger: opened only if it is one, of this version and whole."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.errors import LedgerError

SCHEMA_VERSION = 3
APPLICATION_ID = 0x52534458
"""``RSDX``: tells a ledger from any other SQLite file."""

BUSY_SECONDS = 60.0
"""How long to wait for another process of ours, or for somebody who looks into the file with another program."""

AGAIN_SECONDS = 0.02
"""How soon a file is opened again that another process just makes."""

TABLES = """
CREATE TABLE outcomes (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,
    pseudonym TEXT NOT NULL,
    question TEXT NOT NULL,
    outcome TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    finished TEXT NOT NULL,
    seconds REAL NOT NULL
);
CREATE TABLE claims (key TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (pseudonym TEXT PRIMARY KEY, key TEXT NOT NULL, names TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE kept (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
"""
REMEDY = "Give another `out`; the cases are then predicted again."


def connect(path: Path) -> sqlite3.Connection:
    """Open a ledger, or make one; each statement is a transaction of its own, unless BEGIN says otherwise.

    Raises
    ------
    LedgerError
        The file is damaged, no ledger, or of another version.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    with speaking(path):
        while True:
            try:
                return _opened(path)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() > deadline:
                    raise
            time.sleep(AGAIN_SECONDS)


def _opened(path: Path) -> sqlite3.Connection:
    with ExitStack() as stack:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        stack.callback(connection.close)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _check(path, connection)
        stack.pop_all()
    return connection


def _is_busy(error: sqlite3.Error) -> bool:
    """Whether another process was quicker: while a new file goes over to a write-ahead log SQLite waits for nobody."""
    code = int(getattr(error, "sqlite_errorcode", 0))  # errors of the module itself have none
    return code & 0xFF == sqlite3.SQLITE_BUSY  # the upper bits tell which kind of busy


def _check(path: Path, connection: sqlite3.Connection) -> None:
    """Make the tables in a new file; refuse another one's file, another version and a damaged one."""
    with transaction(connection):
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables and not application:
            for statement in TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
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
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the file for writing; all that is done is kept at the end, or nothing where it fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@contextmanager
def speaking(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into one for the user."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LedgerError(f"{path} cannot be used: {error}.", "Check the disk and who else has it open.") from error
    except sqlite3.DatabaseError as error:
        raise LedgerError(f"{path} is damaged: {error}.", REMEDY) from error
