"""Every file below a folder, however deep, and in its archives, without following a link to a folder."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput, ScansGone, UsageError
from pipeline.readers.archive import is_archive, members

REMEDY = "Give the folder or the ZIP archive that holds the scans."


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
        Of the target, where it is a link; None where it has none. Of what lies in an archive that of the archive, with
        its own size.
    refused : RejectedInput or None
        Why it may not be read, where the archive says so.
    """

    path: str
    relative: str
    is_link: bool
    stamp: Stamp | None
    refused: RejectedInput | None = None


def check_scans(root: Path) -> None:
    """Refuse a place in which no scans can be looked for: they lie in a folder, or in a ZIP archive, read as one.

    Raises
    ------
    ScansGone
        It does not exist, or cannot be opened: not now, where it did before.
    UsageError
        It is a file of another kind.
    """
    try:
        is_folder = stat.S_ISDIR(root.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ScansGone(f"{root} does not exist.", REMEDY) from error
    except OSError as error:
        raise ScansGone(f"{root} cannot be opened: {error.strerror}.", REMEDY) from error
    if not is_folder and not is_archive(root):
        raise UsageError(f"{root} is no folder and no ZIP archive.", REMEDY)


def walk(root: Path, only: Path | None = None) -> list[Entry]:
    """Every entry, in the order of the parts of their paths; folders that cannot be listed are entries too.

    An archive is a folder of its members. One that cannot be trusted, or holds nothing, is an entry itself.

    Parameters
    ----------
    only : Path, optional
        A file or folder at or below `root`: entries beside it are not looked at.
    """
    start = len(str(root).rstrip(os.sep)) + 1
    place = only or root
    if place.is_dir():
        entries = _entries(str(place), start)
    else:
        entries = iter([_entry(str(place), start, is_link=place != root and place.is_symlink(), stamp=_stamp(place))])
    found = (inside for entry in entries for inside in _opened(entry, start))
    return sorted(found, key=lambda entry: entry.relative.split("/"))


def _opened(entry: Entry, start: int) -> Iterator[Entry]:
    """Yield what lies in an archive, or the entry itself.

    A link to an archive is a copy and is not opened, unless the archive is none by its own name: a store of blobs.
    """
    if entry.stamp is None or not is_archive(Path(entry.path)) or (entry.is_link and not _names(entry, start)):
        yield entry
        return
    try:
        listed = members(Path(entry.path))
    except RejectedInput as error:
        yield entry._replace(refused=error)
        return
    for member in listed:
        path = f"{entry.path}{os.sep}{member.name}"
        yield _entry(path, start, is_link=False, stamp=entry.stamp._replace(size=member.size))._replace(
            refused=member.refused
        )
    if not listed:
        yield entry._replace(refused=RejectedInput(Code.NOT_AN_IMAGE, "an archive that holds no file"))


def _names(link: Entry, start: int) -> bool:
    """Whether only a link says that a file within the folder is an archive."""
    try:
        target = Path(link.path).resolve()
    except (OSError, RuntimeError):
        return False
    return target.is_relative_to(link.path[: start - 1]) and not is_archive(target)


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


def _stamp(entry: os.DirEntry[str] | Path) -> Stamp | None:
    try:
        return Stamp.of(entry.stat())
    except OSError:
        return None
