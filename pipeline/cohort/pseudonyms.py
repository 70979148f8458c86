"""Keyed pseudonyms: the same identifier under the same key has the same name; without the key nobody gets back.

A pseudonym is an HMAC (RFC 2104) with SHA-256 over the identifier, cut to 64 bits. A plain hash would not do: patient
numbers are few enough to try them all.
"""

import csv
import fcntl
import hmac
import io
import os
import secrets
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import atomic
from pipeline.domain.cells import csv_text, plain_cell, raw_bytes, table_bytes, table_text
from pipeline.errors import UsageError

KEY_VARIABLE = "RESDX_KEY_FILE"
KEY_BYTES = 32
PREFIXES = {"patient": "P", "study": "T", "series": "S", "case": "C"}
MAP_COLUMNS = ("pseudonym", "kind", "identifier")
LONGEST_IDENTIFIER = 2**31 - 1
"""Characters of a field of the map: an identifier is written at whatever length a header has it."""

MAP_SUFFIX = ".map.csv"
INDEX_SUFFIX = ".index.sqlite"

Named = dict[str, tuple[str, str]]
"""Pseudonym to (kind, raw identifier)."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Names patients, studies, series and cases. Crosses to worker processes; never shows its key.

    Attributes
    ----------
    key_file : Path
        Where the key lies; the map of :meth:`save_map` lies beside it.
    """

    key_file: Path
    _key: bytes = field(repr=False)
    _named: Named = field(default_factory=dict, repr=False, compare=False)
    _saved: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def open(cls, key_file: Path | None, *, outside: Path | None = None) -> "Pseudonyms":
        """Open a key file; one that does not exist yet is made, also where two processes come at once.

        Parameters
        ----------
        key_file : Path or None
            None: ``$RESDX_KEY_FILE``, else ``~/.config/resdx/key``.
        outside : Path, optional
            The folder of scans, in which nothing is written.

        Raises
        ------
        UsageError
            Others may read the file, it lies among the scans, is too short for a key, or cannot be read or made.
        """
        path = (key_file or _default_key_file()).expanduser().absolute()
        if outside is not None and path.parent.resolve().is_relative_to(outside.resolve()):
            message = f"The key of the pseudonyms, {path}, lies in the folder of scans, where nothing is written."
            raise UsageError(message, f"Give another place with `key_file` or ${KEY_VARIABLE}.")
        try:
            if not path.exists():
                _make_key(path)
            key, mode = path.read_bytes(), path.stat().st_mode
        except OSError as error:
            message = f"The key of the pseudonyms, {path}, cannot be opened: {error.strerror}."
            raise UsageError(message, f"Give another with `key_file` or ${KEY_VARIABLE}.") from error
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            message = f"Others than you may use the key of the pseudonyms, {path}."
            raise UsageError(message, f"Run `chmod 600 {path}`; if others had access, use a new key.")
        if len(key) < KEY_BYTES:
            message = f"{path} holds {len(key)} bytes; a key of pseudonyms has {KEY_BYTES} at least."
            raise UsageError(message, "Give the right file, or the name of one that does not exist: it is made.")
        return cls(path, key)

    @property
    def map_file(self) -> Path:
        """Where :meth:`save_map` keeps the way back."""
        return self.key_file.with_name(f"{self.key_file.name}{MAP_SUFFIX}")

    def check_map(self) -> None:
        """Find out, before hours of reading, whether the map can be kept.

        Raises
        ------
        UsageError
            Its folder cannot be written.
        """
        try:
            with _locked(self.map_file):
                pass
        except OSError as error:
            message = f"The map of the pseudonyms, {self.map_file}, cannot be written: {error.strerror}."
            raise UsageError(message, f"Give another place with `key_file` or ${KEY_VARIABLE}.") from error

    @property
    def index_file(self) -> Path:
        """Where :class:`pipeline.readers.index.FolderIndex` remembers headers, which name patients as the map does."""
        return self.key_file.with_name(f"{self.key_file.name}{INDEX_SUFFIX}")

    def patient(self, raw: str) -> str:
        """Pseudonym of a patient: ``P`` and 16 hex digits."""
        return self._name("patient", raw)

    def study(self, raw: str) -> str:
        """Pseudonym of a study: ``T`` and 16 hex digits."""
        return self._name("study", raw)

    def series(self, raw: str) -> str:
        """Pseudonym of a series: ``S`` and 16 hex digits."""
        return self._name("series", raw)

    def case(self, raw: str) -> str:
        """Pseudonym of a case: ``C`` and 16 hex digits."""
        return self._name("case", raw)

    def uid(self, raw: str) -> str:
        """UID that stands for another one: ``2.25.`` and a UUID that is made of the HMAC (PS3.5 B.2)."""
        code = hmac.new(self._key, raw_bytes(f"uid\0{raw}"), "sha256")
        return f"2.25.{uuid.UUID(bytes=code.digest()[:16], version=4).int}"

    def remember(self, *, patient: str = "", study: str = "", series: str = "", case: str = "") -> None:
        """Note raw identifiers for the map; empty ones are left out."""
        for kind, raw in {"patient": patient, "study": study, "series": series, "case": case}.items():
            if raw:
                self._named[self._name(kind, raw)] = (kind, raw)

    def save_map(self) -> Path:
        """Add what was remembered to the map, which several processes may share; return its path.

        Where all of it was saved before, as in a folder that is looked at again and again, nothing is read or written.
        """
        if self._named.keys() <= self._saved and self.map_file.exists():
            return self.map_file
        with _locked(self.map_file):
            merged = _read_map(self.map_file) | self._named
            rows = ((name, *merged[name]) for name in sorted(merged))
            atomic.write_private(self.map_file, table_bytes(csv_text(MAP_COLUMNS, rows)))
        self._saved.update(self._named)
        return self.map_file

    def known(self) -> Mapping[str, tuple[str, str]]:
        """Read the map: pseudonym to kind and raw identifier."""
        return _read_map(self.map_file)

    def _name(self, kind: str, raw: str) -> str:
        code = hmac.new(self._key, raw_bytes(f"{kind}\0{raw}"), "sha256")
        return PREFIXES[kind] + code.hexdigest()[:16]


def _default_key_file() -> Path:
    given = os.environ.get(KEY_VARIABLE)
    return Path(given) if given else Path.home() / ".config" / "resdx" / "key"


def _make_key(path: Path) -> None:
    with _locked(path):
        if not path.exists():  # another process may have been first
            atomic.write_private(path, secrets.token_bytes(KEY_BYTES))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that belongs to a file; it ends with the process, however that ends."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _read_map(path: Path) -> Named:
    if not path.exists():
        return {}
    csv.field_size_limit(LONGEST_IDENTIFIER)
    rows = csv.DictReader(io.StringIO(table_text(path.read_bytes()), newline=""))
    return {row["pseudonym"]: (row["kind"], plain_cell(row["identifier"])) for row in rows}
