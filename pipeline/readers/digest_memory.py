"""Digests of files that have not changed since this process took them: a folder that is followed is read once."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.readers.walking import Entry, Stamp

RACY_NS = 2_000_000_000
"""A file that changed this shortly before it was read may change again within one tick of its clock."""


@dataclass(slots=True)
class DigestMemory:
    """Path and stamp of a file to its sha256. Whoever uses the bytes of a file verifies them all the same."""

    _held: dict[str, tuple[Stamp, str]] = field(default_factory=dict)

    def recall(self, entry: Entry, stamp: Stamp) -> str:
        """Digest of a file that is as it was, else an empty string."""
        found = self._held.get(entry.path)
        return found[1] if found is not None and found[0] == stamp else ""

    def keep(self, entry: Entry, stamp: Stamp, digest: str) -> None:
        """Remember a digest, unless the file may have changed in the tick of the clock in which it was read."""
        if digest and max(stamp.modified_ns, stamp.changed_ns) <= time.time_ns() - RACY_NS:
            self._held[entry.path] = (stamp, digest)

    def forget_others(self, entries: Iterable[Entry]) -> None:
        """Forget files that are gone."""
        present = {entry.path for entry in entries}
        for path in self._held.keys() - present:
            del self._held[path]
