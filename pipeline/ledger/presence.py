"""Which processes work in a folder: each holds a lock file of its own, which the system lets go of however it ends."""

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pipeline.atomic import naming_full_disk
from pipeline.errors import LedgerError, UsageError

ENDING = ".lock"

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Names a running kernel: containers of one machine have host names of their own, and share this."""


@contextmanager
def present(path: Path) -> Iterator[str]:
    """Hold a lock file beside a ledger, and yield its name: who this process is to the others.

    All must run on one machine: the write-ahead log of SQLite is shared through memory. The file names the machine, so
    that a process on another one is told where the file system carries locks between machines (NFS 4, SMB). Where it
    does not, a process elsewhere looks like one that has ended.

    Raises
    ------
    UsageError
        A process of another machine works in the folder.
    LedgerError
        The folder cannot be written, or has no locks.
    """
    with naming_folder(path.parent):
        lock, name = _hold(path)
    try:
        with naming_folder(path.parent):
            _check_machine(path, name)
        yield name
    finally:
        path.with_name(name).unlink(missing_ok=True)
        os.close(lock)


def _hold(path: Path) -> tuple[int, str]:
    """Make a file and lock it; again with another one where somebody took it for that of a dead process meanwhile."""
    while True:
        name = f"{path.name}.{secrets.token_hex(8)}{ENDING}"
        mine = path.with_name(name)
        with ExitStack() as undo:
            lock = os.open(mine, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            undo.callback(os.close, lock)
            undo.callback(mine.unlink, missing_ok=True)
            told = json.dumps(_machine() | {"process": str(os.getpid())})
            os.write(lock, told.encode("ascii"))  # first: a file that is locked says by whom
            if _locked(lock) and mine.exists():
                undo.pop_all()
                return lock, name


def others(path: Path, name: str) -> Iterator[str]:
    """Yield the names of all other processes that work with a ledger, and sweep up behind those that have ended."""
    for found in sorted(path.parent.glob(f"{path.name}.*{ENDING}")):
        if found.name != name and is_alive(path, found.name):
            yield found.name


def is_alive(path: Path, name: str) -> bool:
    """Whether a process still runs; the file of one that does not is removed.

    Raises
    ------
    LedgerError
        The lock file of another user, or a file system that has no locks.
    """
    file = path.with_name(name)
    with naming_folder(path.parent):
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


def process_of(path: Path, name: str) -> str:
    """Return the number of a process, as its lock file says; empty where that is gone, or says none."""
    try:
        return str(json.loads(path.with_name(name).read_text(encoding="ascii"))["process"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def came_ns(path: Path, name: str) -> int | None:
    """When a process came to the folder, by the clock of its file system; None where its file is gone."""
    try:
        return path.with_name(name).stat().st_mtime_ns
    except FileNotFoundError:
        return None


@contextmanager
def naming_folder(folder: Path) -> Iterator[None]:
    """Turn an error of the system into one for the user that names the folder.

    Raises
    ------
    UsageError
        It is a file, or lies in one.
    DiskFull
    LedgerError
        It cannot be written, or its file system has no locks.
    """
    try:
        with naming_full_disk(folder):
            yield
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{folder} is a file, or lies in one.", "Give an `out` that is a folder, or new.") from error
    except PermissionError as error:
        raise LedgerError(
            f"{folder} cannot be written by this user, or somebody else works in it: {error.strerror}.",
            "Give another `out`, or have its owner let you write there.",
        ) from error
    except OSError as error:
        raise LedgerError(
            f"{folder} cannot hold the lock files of a ledger: {error.strerror}.",
            "Give an `out` that can be written, on a file system that has file locks, such as a local disk.",
        ) from error


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _check_machine(path: Path, name: str) -> None:
    """Refuse to work beside a process of another machine."""
    ours = _machine()
    for other in others(path, name):
        theirs = _machine_of(path.with_name(other))
        if theirs is not None and theirs["kernel"] != ours["kernel"]:
            raise UsageError(
                f"A process on the machine {theirs['host']} works in {path.parent}; processes can share a folder of "
                f"predictions on one machine only, and this one is {ours['host']}.",
                "Give each machine its own --out, or use `--executor ray`, which runs one command on several machines.",
            )


def _machine() -> dict[str, str]:
    """Name of this machine, and what is the same for those processes alone that share its memory."""
    host = socket.gethostname()
    try:
        return {"host": host, "kernel": BOOT_ID.read_text(encoding="ascii").strip()}
    except OSError:  # macOS
        return {"host": host, "kernel": host}


def _machine_of(file: Path) -> dict[str, str] | None:
    """Machine that a lock file names; None where it is gone, or of a version that named none."""
    try:
        told = json.loads(file.read_text(encoding="ascii"))
        return {"host": str(told["host"]), "kernel": str(told["kernel"])}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
