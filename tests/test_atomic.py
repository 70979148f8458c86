"""Files and folders that are written whole bear the mode of the process, which no other thread ever sees changed."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline import atomic


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize(("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o007, 0o660, 0o770)])
def test_the_umask_decides_who_reads_a_file(tmp_path: Path, mask: int, file: int, folder: int) -> None:
    with umask(mask):
        atomic.write_text(tmp_path / "a.csv", "case")
        atomic.write_with(tmp_path / "b.csv", lambda path: (path.unlink(), path.touch(mode=0o600)))
        atomic.write_private(tmp_path / "key", b"secret")
        atomic.replace_folder(tmp_path / "package", lambda path: (path / "card.json").write_text("{}"))
    assert [mode_of(tmp_path / name) for name in ("a.csv", "b.csv", "key", "package")] == [file, file, 0o600, folder]
    assert mode_of(tmp_path / "package" / "card.json") == file


def test_the_umask_is_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(mask: int) -> int:
        raise AssertionError(f"another thread would make files under the umask {mask:o}")

    monkeypatch.setattr(os, "umask", refused)
    atomic.write_text(tmp_path / "a.csv", "case")
    atomic.replace_folder(tmp_path / "package", lambda path: (path / "card.json").write_text("{}"))
    assert (tmp_path / "a.csv").read_text() == "case"
