"""Files that know whether they are whole: a sha256 of all bytes stands behind them, and the file before is kept."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Protocol

from pipeline import atomic
from pipeline.errors import TrainingError

MAGIC = b"RESDXSUM"
TRAILER = len(MAGIC) + hashlib.sha256().digest_size
"""Bytes of the seal. ``torch.load`` reads past it: the directory of a ZIP file is sought from its end."""

CHUNK = 1 << 20


class Sink(Protocol):
    """What a writer of a sealed file is given."""

    def write(self, content: bytes, /) -> int:
        """Take the next bytes."""

    def flush(self) -> None:
        """Pass on what is buffered."""


def write_sealed(path: Path, save: Callable[[Sink], object]) -> None:
    """Write a file whole or not at all, its sha256 behind it; the file that stood there becomes the previous one.

    Parameters
    ----------
    save : callable
        Writes the content into what it is given.

    Raises
    ------
    DiskFull
        There is no space for it; both files are as they were.
    """

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            sink = _Hashing(file)
            try:
                save(sink)
            except RuntimeError as error:
                # torch tells only that a write failed, not why
                raise (sink.failure or error) from error
            file.write(MAGIC + sink.sha256.digest())
        if path.exists():
            _keep(path)

    atomic.write_with(path, fill)


def previous(path: Path) -> Path:
    """Name what stood at `path` before it was last written: ``last.ckpt``, ``last.previous.ckpt``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def check_seal(path: Path) -> None:
    """Hold a file's bytes against the sha256 behind them.

    Raises
    ------
    TrainingError
        Bytes are missing or changed, or it has no seal.
    OSError
        It cannot be read.
    """
    sha256 = hashlib.sha256()
    left = path.stat().st_size - TRAILER
    with path.open("rb") as file:
        while left > 0 and (chunk := file.read(min(left, CHUNK))):
            sha256.update(chunk)
            left -= len(chunk)
        seal = file.read()
    if seal[: len(MAGIC)] != MAGIC:
        raise TrainingError(f"{path} is damaged: its end is missing.")
    if seal != MAGIC + sha256.digest():
        raise TrainingError(f"{path} is damaged: its bytes do not have the sha256 that they were written with.")


def _keep(path: Path) -> None:
    """Make `path` the previous one, without a moment in which there is none; by a plain rename where links are not."""
    kept = previous(path)
    link = kept.with_name(f".tmp-{kept.name}")
    with suppress(FileNotFoundError):
        link.unlink()
    try:
        os.link(path, link)
    except OSError:
        path.replace(kept)
    else:
        link.replace(kept)


class _Hashing:
    """Passes bytes on to a file and remembers their sha256, and the error of a write that failed."""

    def __init__(self, file: IO[bytes]) -> None:
        self.sha256 = hashlib.sha256()
        self.failure: OSError | None = None
        self._file = file

    def write(self, content: bytes, /) -> int:
        try:
            written = self._file.write(content)
        except OSError as error:
            self.failure = error
            raise
        self.sha256.update(content)
        return written

    def flush(self) -> None:
        self._file.flush()
