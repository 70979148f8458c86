"""Every file below a folder, however deep, without following a link to a folder."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Stamp(NamedTuple):
    """What the file system tells of a file: another content has another stamp, unless someone forges it."""

    size: int
    modified_ns: int
    changed_ns: int
    inode: int
    mode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        """Take it from a status."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode)

    @property
    def is_regular(self) -> bool:
        """Whether it is a file, no pipe, device or folder."""
        return stat.S_ISREG(self.mode)


class Entry(NamedTuple):
    """One entry that is no real folder.

    Attributes
    ----------
    path : str
        Absolute.
    relative : str
        Below the folder, with forward slashes.
    stamp : Stamp or None
        Of the target, where it is a link; None where it has none.
    """

    path: str
    relative: str
    is_link: bool
    stamp: Stamp | None


def walk(root: Path) -> list[Entry]:
    """Every entry, in the order of the parts of their paths; folders that cannot be listed are entries too."""
    start = len(str(root).rstrip(os.sep)) + 1
    return sorted(_entries(str(root), start), key=lambda entry: entry.relative.split("/"))


def _entries(root: str, start: int) -> Iterator[Entry]:
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = list(listing)
        except OSError:
            yield _entry(folder, start, is_link=False, stamp=None)
            continue
        for entry in entries:
            if _is_folder(entry):
                folders.append(entry.path)
            else:
                yield _entry(entry.path, start, is_link=_is_link(entry), stamp=_stamp(entry))


def _entry(path: str, start: int, *, is_link: bool, stamp: Stamp | None) -> Entry:
    relative = path[start:] or "."
    return Entry(path, relative if os.sep == "/" else relative.replace(os.sep, "/"), is_link, stamp)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # looked at as a file, it is refused with the reason
        return False


def _is_link(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink()
    except OSError:  # resolved, it is refused with the reason
        return True


def _stamp(entry: os.DirEntry[str]) -> Stamp | None:
    try:
        return Stamp.of(entry.stat())
    except OSError:
        return None
