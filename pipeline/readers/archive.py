"""ZIP archives read as folders: what one holds, and the bytes of its members. Nothing is ever extracted to disk.

An export on CD or from a portal often comes as ``EXPORT.zip``. Its members have the paths ``EXPORT.zip/DIR/IM0001``: as
no file of the system can lie below a file, such a path says by itself that an archive is to be opened.
"""

import io
import re
import stat
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.archive_stream import MAGIC, MemberStream, OpenArchive

SUFFIX = ".zip"
MOST_MEMBERS = 100_000
LARGEST_RATIO, JUDGED_FROM_BYTES = 200, 64 * 1024**2
"""A member that is larger than this, once inflated, and was packed more tightly is a bomb; scans shrink by 2 to 10."""

DRIVE = re.compile("[A-Za-z]:")

BACKSLASHES = (
    "the archive writes its path with backslashes, as old tools of Windows do against the standard (APPNOTE 4.4.17): "
    "unpack it on Windows and give the folder, or pack that again with another tool"
)

ENCRYPTED = 0x1
"""Bit of the general purpose flags (APPNOTE 4.4.4)."""

ARCHIVES_KEPT_OPEN = 4

DAMAGE = (BadZipFile, zlib.error, EOFError, struct.error, ValueError, NotImplementedError, KeyError, IndexError)
"""What a damaged archive makes the library raise."""


class Member(NamedTuple):
    """One file of an archive.

    Attributes
    ----------
    name : str
        Its path in the archive, with forward slashes.
    size : int
        Bytes, inflated.
    refused : RejectedInput or None
        Why it may not be read.
    """

    name: str
    size: int
    refused: RejectedInput | None = None


def is_archive(path: Path) -> bool:
    """Whether a file is an archive of scans, by its name and how it begins."""
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(4) in MAGIC
    except OSError:
        return False


def members(path: Path) -> list[Member]:
    """List what an archive holds, in its order; folders are left out.

    A name that would lead out of a folder, a link, an encrypted member, an archive within, a bomb, or one name for
    several members stand in the list with the reason for which they are refused.

    Raises
    ------
    RejectedInput
        UNREADABLE, TRUNCATED, CORRUPT, or TOO_LARGE: the archive as a whole cannot be trusted.
    """
    archive = _opened(path)
    found = [info for info in archive.list.infolist() if not info.is_dir()]
    if len(found) > MOST_MEMBERS:
        raise RejectedInput(Code.TOO_LARGE, f"the archive lists {len(found)} files; the limit is {MOST_MEMBERS}")
    _check_apart(archive.list)
    count = Counter(map(_place, found))
    unique = {_place(info): info for info in found}
    return [Member(name, info.file_size, _refusal(archive, info, count[name])) for name, info in unique.items()]


def member_size(stream: io.RawIOBase) -> int | None:
    """Count the bytes of the member that a stream gives, or None where it gives a file of the system."""
    return stream.size if isinstance(stream, MemberStream) else None


def archive_of(path: Path) -> Path | None:
    """Find the archive that a path leads into; None where it is that of a file of the system."""
    return next((parent for parent in path.parents if parent.suffix.lower() == SUFFIX and parent.is_file()), None)


def open_member(path: Path) -> io.RawIOBase:
    """Open a member by its path; ``fileno`` is that of its archive.

    Raises
    ------
    RejectedInput
        As for :func:`members`, and CORRUPT while it is read.
    FileNotFoundError
        There is none of this name.
    """
    source = archive_of(path)
    if source is None:
        raise FileNotFoundError(2, "No such file or directory")
    name = path.relative_to(source).as_posix()
    archive = _opened(source)
    try:
        info = archive.list.NameToInfo[name]
    except KeyError:
        raise FileNotFoundError(2, "No such file in the archive") from None
    if refused := _refusal(archive, info, 1):
        raise refused
    return MemberStream(archive, info)


def _opened(path: Path) -> OpenArchive:
    """Open an archive and keep it open for the next of its members; one that changes is another one."""
    try:
        status = path.stat()
        return _kept_open(path, status.st_size, status.st_mtime_ns, status.st_ino)
    except OSError as error:
        raise RejectedInput(Code.UNREADABLE, f"the archive cannot be read: {error.strerror}") from error


@lru_cache(maxsize=ARCHIVES_KEPT_OPEN)
def _kept_open(path: Path, size: int, _modified_ns: int, _inode: int) -> OpenArchive:
    try:
        return OpenArchive(path, size)
    except DAMAGE as error:
        if isinstance(error, RejectedInput):
            raise
        raise RejectedInput(Code.CORRUPT, "the archive's list of files is damaged") from error


def _check_apart(archive: ZipFile) -> None:
    """Refuse members that share bytes, which is how a small archive inflates without bound, and bytes before the first.

    What stands before the first file may be another archive, of which nothing is listed.
    """
    end = 0
    listed = sorted(archive.infolist(), key=lambda info: info.header_offset)
    if (listed[0].header_offset if listed else archive.start_dir) > 0:
        raise RejectedInput(Code.CORRUPT, "there is more in the archive than its list of files tells of")
    for info in listed:
        if info.header_offset < end:
            raise RejectedInput(Code.CORRUPT, "files overlap in the archive")
        end = info.header_offset + info.compress_size
    if end > archive.start_dir:
        raise RejectedInput(Code.CORRUPT, "files of the archive reach into its list of files")


def _place(info: ZipInfo) -> str:
    """Where a member would lie in a folder."""
    return str(PurePosixPath(info.filename.lstrip("/")))


def _refusal(archive: OpenArchive, info: ZipInfo, count: int) -> RejectedInput | None:
    for code, message in _faults(archive, info, count):
        return RejectedInput(code, message)
    return None


def _faults(archive: OpenArchive, info: ZipInfo, count: int) -> Iterator[tuple[Code, str]]:
    written = info.orig_filename
    if "\\" in written:
        yield Code.UNREADABLE, BACKSLASHES
    if {"", ".", ".."} & set(written.split("/")) or "\0" in written or DRIVE.match(written):
        yield Code.UNREADABLE, "its path leads out of the archive, or may on another system"
    if count > 1:
        yield Code.BAD_HEADER, f"the archive lists {count} files under this path"
    if stat.S_ISLNK(info.external_attr >> 16):
        yield Code.UNREADABLE, "a link in an archive is not followed"
    if info.flag_bits & ENCRYPTED:
        yield Code.UNREADABLE, "it is encrypted: unpack the archive with its password"
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        yield Code.NOT_SUPPORTED, f"it is packed by method {info.compress_type}: unpack the archive"
    if info.file_size > JUDGED_FROM_BYTES and info.file_size > LARGEST_RATIO * max(1, info.compress_size):
        yield Code.TOO_LARGE, f"it inflates to {info.file_size} bytes from {info.compress_size}"
    if PurePosixPath(written).suffix.lower() == SUFFIX and _begins(archive, info) in MAGIC:
        yield Code.NOT_SUPPORTED, "an archive within an archive is not opened: unpack it"


def _begins(archive: OpenArchive, info: ZipInfo) -> bytes:
    try:
        return MemberStream(archive, info).read(4)
    except RejectedInput:
        return b""
