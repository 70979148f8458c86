"""Which processes work in a folder: each holds a lock file of its own, which the system lets go of however it ends."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENDING = ".lock"


@contextmanager
def present(path: Path) -> Iterator[str]:
    """Hold a lock file beside a ledger, and yield its name: who this process is to the others.

    Works between machines where their file system has locks (NFS 4, SMB); one that has none tells nobody's end.
    """
    lock, name = _hold(path)
    try:
        yield name
    finally:
        path.with_name(name).unlink(missing_ok=True)
        os.close(lock)


def _hold(path: Path) -> tuple[int, str]:
    """Make a file and lock it; again with another one where somebody took it for that of a dead process meanwhile."""
    while True:
        name = f"{path.name}.{secrets.token_hex(8)}{ENDING}"
        mine = path.with_name(name)
        lock = os.open(mine, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        if _locked(lock) and mine.exists():
            return lock, name
        os.close(lock)


def others(path: Path, name: str) -> Iterator[str]:
    """Yield the names of all other processes that work with a ledger, and sweep up behind those that have ended."""
    for found in sorted(path.parent.glob(f"{path.name}.*{ENDING}")):
        if found.name != name and is_alive(path, found.name):
            yield found.name


def is_alive(path: Path, name: str) -> bool:
    """Whether a process still runs; the file of one that does not is removed."""
    file = path.with_name(name)
    try:
        lock = os.open(file, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        if not _locked(lock):
            return True
        file.unlink(missing_ok=True)
        return False
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
