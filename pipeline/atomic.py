"""Writes that are there whole or not at all: temporary file in the same folder, fsync, rename."""

import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import DiskFull

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""System errors of a disk that is full, a quota that is used up, a file that grows beyond its limit."""


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Turn the system's word for a full disk into one that names `path` and says what to do.

    Raises
    ------
    DiskFull
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise DiskFull(path, os.strerror(error.errno)) from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` so that a crash leaves the old file or the new one, never a part."""
    write_with(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, content: str) -> None:
    """Replace `path` by UTF-8 text, line ends as given; see :func:`write_bytes`."""
    write_bytes(path, content.encode("utf-8"))


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` by `content` that only its owner may read, at no moment anybody else; see :func:`write_bytes`."""
    write_with(path, lambda temporary: temporary.write_bytes(content), mode=0o600)


def write_with(path: Path, write: Callable[[Path], object], *, mode: int | None = None) -> None:
    """Let `write` fill a temporary file beside `path` (same suffixes), then fsync and rename it over `path`.

    `mode` is that of the file; None leaves it to the process's umask.

    Raises
    ------
    DiskFull
        There is no space for it; `path` is as it was.
    """
    with naming_full_disk(path):
        _write_with(path, write, mode)


def _write_with(path: Path, write: Callable[[Path], object], mode: int | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{secrets.token_hex(8)}{''.join(path.suffixes)}")
    # the system takes the umask off, which cannot be asked for without changing it under the feet of other threads
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if mode is None else mode)
    usual = stat.S_IMODE(os.fstat(handle).st_mode)
    os.close(handle)
    try:
        write(temporary)
        _fsync(temporary)
        temporary.chmod(usual if mode is None else mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync(path.parent)


def replace_folder(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write into a new folder beside `path`, then put it in the place of `path`.

    Raises
    ------
    DiskFull
        There is no space for it; `path` is as it was.
    """
    with naming_full_disk(path):
        _replace_folder(path, fill)


def _replace_folder(path: Path, fill: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{path.name}-{secrets.token_hex(8)}")
    temporary.mkdir()
    try:
        fill(temporary)
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                _fsync(file)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".old-{path.name}-", dir=path.parent))
            path.replace(old / path.name)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _fsync(path.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
