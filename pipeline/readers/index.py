"""What was found in a folder, remembered until something in it changes: the index only speeds discovery.

A folder is the same when every file below it has the path, size, times and inode that it had, and when neither the
settings nor the code that read its headers have changed. Whoever uses the bytes of a file verifies them all the same.
The index holds raw identifiers, as the map of the pseudonyms does, and lies beside it for its owner alone.
"""

import hashlib
import importlib.metadata
import json
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pipeline.domain.codes import Code
from pipeline.domain.series import Discovery
from pipeline.readers.options import ReadOptions
from pipeline.readers.remembering import from_json, to_json
from pipeline.readers.walking import Entry

Value = TypeVar("Value")
log = logging.getLogger("resdx")

RACY_NS = 2_000_000_000
"""A file that changed this shortly before it was looked at may change again within one tick of its clock."""

TRANSIENT = frozenset(
    {Code.UNREADABLE, Code.CHANGED, Code.INTERNAL, Code.TIMEOUT, Code.CODEC_CRASH, Code.NO_CODEC, Code.TOO_LARGE}
)
"""Refusals that may end although no file changes; a folder with one is looked at again."""

MOST_FOLDERS = 64
BUSY_SECONDS = 5.0
LIBRARIES = ("pydicom", "nibabel", "pillow", "numpy")

SCHEMA = """
CREATE TABLE IF NOT EXISTS folders (
    folder TEXT PRIMARY KEY, listing TEXT NOT NULL, found BLOB NOT NULL, sha256 TEXT NOT NULL, used REAL NOT NULL
) STRICT
"""


class FolderIndex:
    """Remembers discoveries in an SQLite file.

    Parameters
    ----------
    path : Path
        The file; made when first needed, for its owner alone.
    racy_ns : int
        See :data:`RACY_NS`.
    """

    def __init__(self, path: Path, racy_ns: int = RACY_NS) -> None:
        self.path, self._racy_ns = path, racy_ns

    def recall(self, root: Path, entries: Sequence[Entry], options: ReadOptions, *, digests: bool) -> Discovery | None:
        """Return what was found in a folder that has not changed since; with digests where they are asked for."""
        folder, listing = _folder(root, options), _listing(entries)

        def select(database: sqlite3.Connection) -> tuple[bytes, str] | None:
            query = "UPDATE folders SET used = ? WHERE folder = ? AND listing = ? RETURNING found, sha256"
            rows: list[tuple[bytes, str]] = database.execute(query, (time.time(), folder, listing)).fetchall()
            return rows[0] if rows else None

        row = self._transaction(select)
        if row is None:
            return None
        if hashlib.sha256(row[0]).hexdigest() != row[1]:
            log.warning("the index %s is damaged; the folder is looked at again", self.path)
            return None
        content = _unpacked(row[0])
        if digests and not all(digest for _, _, digest, _ in content["files"]):
            return None
        return from_json(content, root)

    def remember(self, found: Discovery, entries: Sequence[Entry], options: ReadOptions, began_ns: int) -> None:
        """Keep what was found, unless it may change without a trace.

        Parameters
        ----------
        began_ns : int
            Time when the listing was begun, since the epoch.
        """
        if any(refusal.code in TRANSIENT for refusal in found.refusals):
            return
        stamps = [entry.stamp for entry in entries]
        latest = max((max(stamp.modified_ns, stamp.changed_ns) for stamp in stamps if stamp), default=0)
        if None in stamps or latest > began_ns - self._racy_ns:
            return
        row = (_folder(found.root, options), _listing(entries), *_packed(found))

        def insert(database: sqlite3.Connection) -> None:
            database.execute("INSERT OR REPLACE INTO folders VALUES (?, ?, ?, ?, ?)", (*row, time.time()))
            kept = "SELECT folder FROM folders ORDER BY used DESC LIMIT ?"
            database.execute(f"DELETE FROM folders WHERE folder NOT IN ({kept})", (MOST_FOLDERS,))

        self._transaction(insert)

    def complete(self, found: Discovery, options: ReadOptions) -> None:
        """Add the digests that were taken since a folder was remembered; where it was not, nothing happens."""
        folder = _folder(found.root, options)
        content, digest = _packed(found)

        def update(database: sqlite3.Connection) -> None:
            row = database.execute("SELECT found FROM folders WHERE folder = ?", (folder,)).fetchone()
            if row is not None and _but_digests(_unpacked(row[0])) == _but_digests(_unpacked(content)):
                database.execute("UPDATE folders SET found = ?, sha256 = ? WHERE folder = ?", (content, digest, folder))

        self._transaction(update)

    def _transaction(self, work: Callable[[sqlite3.Connection], Value]) -> Value | None:
        """Do something to the database; what goes wrong with it costs time, never the run."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            with closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as database, database:
                database.execute(SCHEMA)
                return work(database)
        except sqlite3.OperationalError as error:
            log.warning("the index %s is not used: %s", self.path, error)
        except (sqlite3.DatabaseError, zlib.error, ValueError) as error:
            log.warning("the index %s is damaged and made anew: %s", self.path, error)
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("the index %s is not used: %s", self.path, error.strerror)
        return None


def _packed(found: Discovery) -> tuple[bytes, str]:
    content = zlib.compress(json.dumps(to_json(found)).encode("ascii"), level=1)
    return content, hashlib.sha256(content).hexdigest()


def _unpacked(content: bytes) -> dict[str, Any]:
    return dict(json.loads(zlib.decompress(content)))


def _but_digests(content: dict[str, Any]) -> dict[str, Any]:
    return content | {"files": [(name, size, modified) for name, size, _, modified in content["files"]]}


def _folder(root: Path, options: ReadOptions) -> str:
    """Key of a folder as it is read: with these settings, by this code."""
    parts = (str(root), options.model_dump_json(), _code())
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _listing(entries: Sequence[Entry]) -> str:
    lines = "\0".join(
        f"{entry.relative}\0{entry.is_link:d}\0{' '.join(map(str, entry.stamp or ()))}" for entry in entries
    )
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


@cache
def _code() -> str:
    """Digest of the code that reads headers, and of the libraries it stands on."""
    digest = hashlib.sha256()
    package = Path(__file__).parent.parent
    rooms = (package.joinpath("readers").rglob("*.py"), package.joinpath("domain").rglob("*.py"), package.glob("*.py"))
    for path in sorted(path for room in rooms for path in room):
        digest.update(path.read_bytes())
    digest.update("\0".join(importlib.metadata.version(name) for name in LIBRARIES).encode())
    return digest.hexdigest()
