"""A folder that is looked at again and again: what has not changed is not read whole again, what has is."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from phantoms.predicting import write_scan

from pipeline.readers import loading
from pipeline.readers.digest_memory import DigestMemory
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions

OPTIONS = ReadOptions(modality="CT")


def found(folder: Path, memory: DigestMemory) -> dict[str, str]:
    return {file.path.name: file.sha256 for file in discover(folder, OPTIONS, memory=memory).files}


def true_digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def aged(path: Path, seconds: int = 3600) -> Path:
    """Its times lie in the past, as far as a test may set them: ctime stays, so that the memory is told another now."""
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))
    return path


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the digest was taken, of each file that was begun."""
    seen: list[bool] = []
    real = loading._beginning

    def noting(stream: Any, *, digests: bool) -> tuple[bytes, str]:
        seen.append(digests)
        return real(stream, digests=digests)

    monkeypatch.setattr(loading, "_beginning", noting)
    return seen


def test_only_what_changed_is_read_whole_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: list[bool]
) -> None:
    monkeypatch.setattr("pipeline.readers.digest_memory.RACY_NS", -(10**12))
    memory, folder = DigestMemory(), tmp_path / "scans"
    for name in "ab":
        write_scan(folder / f"{name}.nii", ord(name))
    assert found(folder, memory) == true_digests(folder)
    assert taken == [True, True]
    taken.clear()
    assert found(folder, memory) == true_digests(folder)
    assert taken == [False, False]
    taken.clear()
    write_scan(folder / "b.nii", 7)
    write_scan(folder / "c.nii", 8)
    assert found(folder, memory) == true_digests(folder)
    assert taken == [False, True, True]
    (folder / "a.nii").unlink()
    found(folder, memory)
    assert set(memory._held) == {str(folder / "b.nii"), str(folder / "c.nii")}


def test_a_file_of_this_moment_is_not_remembered(tmp_path: Path, taken: list[bool]) -> None:
    memory = DigestMemory()
    write_scan(tmp_path / "a.nii", 0)
    found(tmp_path, memory)
    found(tmp_path, memory)
    assert taken == [True, True]


def test_another_content_under_the_same_size_and_time_is_told_by_the_time_of_its_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.readers.digest_memory.RACY_NS", -(10**12))
    memory = DigestMemory()
    path = aged(write_scan(tmp_path / "a.nii", 0))
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    found(tmp_path, memory)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=times)
    assert found(tmp_path, memory) == true_digests(tmp_path)
