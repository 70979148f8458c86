"""The bytes of files: their beginnings, read ahead while the headers before them are judged, and whole files."""

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import RawIOBase
from pathlib import Path

from pipeline.domain.codes import Code
from pipeline.domain.series import SourceFile
from pipeline.errors import RejectedInput
from pipeline.readers.archive import archive_of, member_size, open_member
from pipeline.readers.digest_memory import DigestMemory
from pipeline.readers.walking import Entry, Stamp

BEGINNING_BYTES = 64 * 1024
"""Holds the header of nearly every file."""

PIECE_BYTES = 1024**2
THREADS, FILES_AT_ONCE, PARTS_AHEAD = 4, 32, 8
"""Threads that read ahead: a folder on the network answers several questions in the time of one."""

NOT_REGULAR = "is no regular file (a pipe, a device, an unreadable or linked folder)"


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a file begins with; or why it cannot be read, or should not be where it is an image."""

    file: SourceFile
    content: bytes = b""
    error: RejectedInput | None = None


def beginnings(
    entries: Sequence[Entry], root: Path, max_bytes: int, *, digests: bool, memory: DigestMemory | None = None
) -> Iterator[Beginning]:
    """Read the first :data:`BEGINNING_BYTES` bytes of each entry, in their order; for its sha256 also the rest.

    A file of more than `max_bytes` bytes is refused.

    Parameters
    ----------
    memory : DigestMemory, optional
        Digests of files that have not changed since they were taken are not taken again.
    """

    def read(part: Sequence[Entry]) -> list[Beginning]:
        return [_begin(entry, root, max_bytes, digests=digests, memory=memory) for entry in part]

    waiting: deque[Future[list[Beginning]]] = deque()
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="resdx-reading")
    try:
        for first in range(0, len(entries), FILES_AT_ONCE):
            waiting.append(pool.submit(read, entries[first : first + FILES_AT_ONCE]))
            if len(waiting) == PARTS_AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def load(file: SourceFile) -> bytes:
    """Read a file whole; verify its sha256 where one is known, and that it has not changed since it was discovered.

    Raises
    ------
    RejectedInput
        UNREADABLE, or CHANGED.
    """
    try:
        with _open(file.path) as stream:
            stamp = _stamp_of(stream)
            content = stream.readall()
    except OSError as error:
        raise RejectedInput(Code.UNREADABLE, f"cannot be read: {error.strerror}", path=str(file.path)) from error
    except RejectedInput as error:  # of an archive
        if _archive_changed(file):
            message = "its archive is not the one that was discovered"
            raise RejectedInput(Code.CHANGED, message, path=str(file.path)) from error
        error.path = str(file.path)
        raise
    is_other = file.modified_ns is not None and (file.size, file.modified_ns) != (len(content), stamp.modified_ns)
    if is_other or (file.sha256 and hashlib.sha256(content).hexdigest() != file.sha256):
        raise RejectedInput(Code.CHANGED, "the file is not the one that was discovered", path=str(file.path))
    return content


def _archive_changed(file: SourceFile) -> bool:
    """Whether the archive in which a file lies is another one than it was, so that its damage may pass."""
    if file.modified_ns is None:
        return False
    archive = archive_of(file.path)
    return archive is None or archive.stat().st_mtime_ns != file.modified_ns


def digests_of(files: Sequence[SourceFile]) -> list[str]:
    """Hex sha256 of each file, empty where it cannot be read or is no longer the one that was discovered."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="resdx-reading") as pool:
        return list(pool.map(_digest_of, files))


def _digest_of(file: SourceFile) -> str:
    try:
        if file.modified_ns is None:
            return ""
        with _open(file.path) as stream:
            digest = _digest(b"", stream)
            stamp = _stamp_of(stream)
        return digest if (stamp.size, stamp.modified_ns) == (file.size, file.modified_ns) else ""
    except (OSError, RejectedInput):
        return ""


def _begin(entry: Entry, root: Path, max_bytes: int, *, digests: bool, memory: DigestMemory | None = None) -> Beginning:
    path = Path(entry.path)
    file = SourceFile(path, entry.relative, 0)
    try:
        if entry.refused is not None:
            file = replace(file, size=entry.stamp.size if entry.stamp is not None else 0)
            raise entry.refused
        if entry.is_link and not path.resolve().is_relative_to(root):
            raise RejectedInput(Code.UNREADABLE, "a link that leads out of the scan folder is not followed")
        stamp = entry.stamp or Stamp.of(path.stat())
        if not stamp.is_regular:
            raise RejectedInput(Code.UNREADABLE, NOT_REGULAR)
        is_large = stamp.size > max_bytes
        known = memory.recall(entry, stamp) if memory is not None and digests and not is_large else ""
        with _open(path) as stream:
            before = _stamp_of(stream)
            content, digest = _beginning(stream, digests=digests and not is_large and not known)
            if before != _stamp_of(stream) or before != stamp:
                raise RejectedInput(Code.CHANGED, "the file was written to while it was read")
        digest = known or digest
        if memory is not None and not known:
            memory.keep(entry, stamp, digest)
        file = replace(file, size=stamp.size, sha256=digest, modified_ns=stamp.modified_ns)
        message = f"the file has {stamp.size} bytes, the limit is {max_bytes}"
        return Beginning(file, content, RejectedInput(Code.TOO_LARGE, message) if is_large else None)
    except RejectedInput as error:
        return Beginning(file, error=error)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        reason = getattr(error, "strerror", None) or "a loop of links"
        return Beginning(file, error=RejectedInput(Code.UNREADABLE, f"cannot be read: {reason}"))


def _beginning(stream: RawIOBase, *, digests: bool) -> tuple[bytes, str]:
    """Read what a file begins with, and take its digest.

    Damage of an archive shows at the end of a member. What precedes it tells which series lacks the file, so that none
    passes for whole without it; reading finds the damage again.
    """
    content = stream.read(BEGINNING_BYTES) or b""
    try:
        return content, _digest(content, stream) if digests else ""
    except RejectedInput:
        return content, ""


def _open(path: Path) -> RawIOBase:
    """Open a file of the system, or a member of an archive."""
    try:
        return path.open("rb", buffering=0)
    except (NotADirectoryError, FileNotFoundError):
        if archive_of(path) is None:
            raise
        return open_member(path)


def _stamp_of(stream: RawIOBase) -> Stamp:
    stamp, size = Stamp.of(os.fstat(stream.fileno())), member_size(stream)
    return stamp if size is None else stamp._replace(size=size)


def _digest(beginning: bytes, stream: RawIOBase) -> str:
    """Hex sha256 of a file of which the beginning is read, in pieces: no file is ever held whole for it."""
    digest = hashlib.sha256(beginning)
    while piece := stream.read(PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()
