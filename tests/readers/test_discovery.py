"""No file, folder or mistake of a reader stops the walk through a folder."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
from phantoms.niftis import nifti, zipped

from pipeline.cohort.digests import digested
from pipeline.domain.codes import Code
from pipeline.domain.series import Discovery, SourceFile
from pipeline.errors import RejectedInput, StoppedBySignal
from pipeline.readers import discovery, loading
from pipeline.readers.discovery import discover, reopen
from pipeline.readers.loading import BEGINNING_BYTES, PIECE_BYTES, load
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import Assembled
from pipeline.readers.reading import read

OPTIONS = ReadOptions(modality="MR")


def descend(root: Path, depth: int, name: str) -> None:
    """Make folders in folders, beyond what a path can name, and a file in the last one."""
    at = os.open(root, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("last.nii", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


@pytest.fixture
def scans(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "good.nii").write_bytes(nifti())
    yield folder
    subprocess.run(["rm", "-rf", folder], check=True)  # what is too deep for Python to remove


def codes(found: Discovery) -> dict[str, Code]:
    return {refusal.file.relative: refusal.code for refusal in found.refusals}


def test_folders_in_folders_in_folders(scans: Path) -> None:
    descend(scans, 1200, "d")
    found = discover(scans, OPTIONS)
    assert [series.key for series in found.series] == ["good.nii"]
    assert codes(found) == {"d/" * 1200 + "last.nii": Code.TRUNCATED}


def test_a_path_that_is_too_long_is_one_row(scans: Path) -> None:
    descend(scans, 40, "d" * 200)
    found = discover(scans, OPTIONS)
    assert [series.key for series in found.series] == ["good.nii"]
    ((relative, code),) = codes(found).items()
    assert code is Code.UNREADABLE
    assert 3500 < len(relative) < 4500
    assert "too long" in found.refusals[0].message.lower()


class Mistaken:
    """A reader that stumbles over some files, for a reason that names the patient."""

    suffixes = (".bad",)

    def claims(self, head: bytes) -> bool:
        return head.startswith(b"BAD")

    def inspect(self, file: SourceFile, content: bytes, options: ReadOptions) -> bytes:
        if content == b"BAD inspect":
            raise RecursionError("Doe^Jane")
        if content == b"BAD signal":
            raise StoppedBySignal("stopped")
        return content

    def assemble(self, headers: Sequence[Any], options: ReadOptions) -> Assembled:
        return {b"Jane": Assembled((), ())}[headers[0]]


@pytest.fixture
def mistaken(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, Any] = dict(discovery.readers()) | {"bad": Mistaken()}

    def reader_of(head: bytes) -> str:
        return next((name for name, reader in known.items() if reader.claims(head)), "")

    monkeypatch.setattr(discovery, "readers", lambda: known)
    monkeypatch.setattr(discovery, "reader_of", reader_of)


@pytest.mark.usefixtures("mistaken")
def test_a_mistake_of_a_reader_costs_the_files_it_was_made_on(scans: Path) -> None:
    for name, content in {"a": b"BAD inspect", "b": b"BAD assemble", "c": b"BAD too"}.items():
        (scans / f"{name}.bad").write_bytes(content)
    found = discover(scans, OPTIONS)
    assert [series.key for series in found.series] == ["good.nii"]
    assert codes(found) == dict.fromkeys(("a.bad", "b.bad", "c.bad"), Code.INTERNAL)
    messages = [refusal.message.rpartition(" in ")[0] for refusal in found.refusals]
    assert messages == ["unexpected RecursionError", "unexpected KeyError", "unexpected KeyError"]
    assert not any("Jane" in refusal.message for refusal in found.refusals)


@pytest.mark.usefixtures("mistaken")
def test_a_signal_stops_the_walk(scans: Path) -> None:
    (scans / "a.bad").write_bytes(b"BAD signal")
    with pytest.raises(StoppedBySignal):
        discover(scans, OPTIONS)


def test_reopening_and_reading_take_their_bytes_from_the_caller(scans: Path) -> None:
    (series,) = discover(scans, OPTIONS).series
    asked: list[SourceFile] = []

    def noting(file: SourceFile) -> bytes:
        asked.append(file)
        return load(file)

    again = reopen("nifti", series.files, 0, OPTIONS, noting)
    read(again, OPTIONS, noting)
    assert asked == [*series.files, *series.files]
    (scans / "good.nii").write_bytes(zipped(nifti()))
    with pytest.raises(RejectedInput, match="not the one"):
        reopen("nifti", series.files, 0, OPTIONS, noting)


def test_headers_without_digests_and_a_change_that_follows(scans: Path) -> None:
    found = discover(scans, OPTIONS, digests=False)
    (file,) = found.series[0].files
    assert (file.sha256, file.size) == ("", len(nifti()))
    assert load(file) == nifti()
    stamp = file.path.stat()
    file.path.write_bytes(nifti()[:-1] + b"\x01")
    os.utime(file.path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    with pytest.raises(RejectedInput) as refused:
        load(file)
    assert refused.value.code == Code.CHANGED


def test_the_digest_of_a_long_file_is_that_of_all_its_bytes(scans: Path) -> None:
    long = nifti(np.arange(3 * 1024**2 // 2, dtype=np.int16).reshape(1024, 512, 3))
    (scans / "long.nii").write_bytes(long)
    digests = {series.key: series.files[0].sha256 for series in discover(scans, OPTIONS).series}
    assert digests == {"good.nii": sha256(nifti()).hexdigest(), "long.nii": sha256(long).hexdigest()}
    assert len(long) > BEGINNING_BYTES + PIECE_BYTES


def test_a_file_that_grows_while_it_is_read_is_refused(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = loading._digest

    def growing(beginning: bytes, stream: FileIO) -> str:
        with (scans / "good.nii").open("ab") as file:
            file.write(b"more")
        return real(beginning, stream)

    monkeypatch.setattr(loading, "_digest", growing)
    assert codes(discover(scans, OPTIONS)) == {"good.nii": Code.CHANGED}


def test_a_file_of_1970_is_hashed_and_watched_too(scans: Path) -> None:
    path = scans / "good.nii"
    os.utime(path, ns=(0, 0))
    found = discover(scans, OPTIONS, digests=False)
    (file,) = found.series[0].files
    assert file.modified_ns == 0
    assert digested(found, {}).files[0].sha256 == sha256(nifti()).hexdigest()
    path.write_bytes(nifti()[:-1] + b"\x01")
    with pytest.raises(RejectedInput):
        load(file)


def test_a_large_file_that_is_no_image_is_passed_over(scans: Path) -> None:
    options = OPTIONS.model_copy(update={"max_bytes": 10_000})
    (scans / "backup").write_bytes(b"no image at all " * 1000)
    (scans / "large.nii").write_bytes(nifti(np.zeros((20, 20, 20), np.int16)))
    assert codes(discover(scans, options)) == {"backup": Code.NOT_AN_IMAGE, "large.nii": Code.TOO_LARGE}


def test_an_archive_is_known_by_the_name_it_is_given_under(scans: Path, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "blob", "w") as archive:
        archive.write(scans / "good.nii", "good.nii")
    link = tmp_path / "scans.zip"
    link.symlink_to(tmp_path / "blob")
    assert [series.key for series in discover(link, OPTIONS).series] == ["good.nii"]
