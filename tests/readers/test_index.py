"""The index gives back what was found in a folder, until anything in it changes; it is never believed too much."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_series import make_voxels, write_series
from phantoms.niftis import nifti

from pipeline.cohort.digests import digested
from pipeline.domain.codes import Code
from pipeline.domain.series import Discovery
from pipeline.readers import discovery
from pipeline.readers.discovery import discover
from pipeline.readers.index import FolderIndex
from pipeline.readers.options import ReadOptions
from pipeline.readers.walking import walk

OPTIONS = ReadOptions(modality="MR")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """A series with a localizer's worth of everything: files that are used, skipped and rejected."""
    folder = tmp_path / "scans"
    write_series(folder / "series", make_voxels((8, 6, 5)))
    write_enhanced(folder / "many.dcm", make_frames(make_voxels((8, 6, 4))))
    (folder / "ä.nii").write_bytes(nifti())
    (folder / os.fsdecode(b"\xff.txt")).write_bytes(b"no image")
    (folder / "cut.nii").write_bytes(nifti()[:-3])
    return folder


@pytest.fixture
def index(tmp_path: Path) -> FolderIndex:
    return FolderIndex(tmp_path / "home" / "key.index.sqlite", racy_ns=0)


def facts(found: Discovery) -> object:
    """Everything, also what does not count when files are compared."""
    return found, [(file.sha256, file.modified_ns) for file in found.files]


def is_remembered(index: FolderIndex, scans: Path, options: ReadOptions = OPTIONS, *, digests: bool = True) -> bool:
    return index.recall(scans.resolve(), walk(scans.resolve()), options, digests=digests) is not None


def test_an_unchanged_folder_is_not_read_again(
    scans: Path, index: FolderIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = discover(scans, OPTIONS, index=index)
    codes = {Code.NOT_AN_IMAGE, Code.TRUNCATED}
    assert (len(first.series), {refusal.code for refusal in first.refusals}) == (3, codes)
    monkeypatch.setattr(discovery, "beginnings", None)
    again = discover(scans, OPTIONS, index=index)
    assert facts(again) == facts(first)
    assert stat.S_IMODE(index.path.stat().st_mode) == 0o600


def rewrite(scans: Path) -> None:
    """Other voxels under the same name, size and time of modification."""
    path = scans / "ä.nii"
    before = path.stat()
    path.write_bytes(nifti()[:-1] + b"\x55")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten": rewrite,
    "new file": lambda scans: (scans / "new.nii").write_bytes(nifti()),
    "file gone": lambda scans: (scans / "ä.nii").unlink(),
    "renamed": lambda scans: (scans / "ä.nii").rename(scans / "o.nii"),
    "moved": lambda scans: (scans / "ä.nii").rename(scans / "series" / "ä.nii"),
    "longer": lambda scans: (scans / "cut.nii").write_bytes(nifti()),
    "replaced by a copy": lambda scans: shutil.copy2(shutil.copy2(scans / "ä.nii", scans.parent), scans / "ä.nii"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_change_is_seen(scans: Path, index: FolderIndex, change: Callable[[Path], object]) -> None:
    discover(scans, OPTIONS, index=index)
    assert is_remembered(index, scans)
    change(scans)
    assert not is_remembered(index, scans)
    assert facts(discover(scans, OPTIONS, index=index)) == facts(discover(scans, OPTIONS))


def test_other_settings_and_other_code_are_another_folder(
    scans: Path, index: FolderIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    discover(scans, OPTIONS, index=index)
    assert not is_remembered(index, scans, ReadOptions(modality="CT"))
    assert not is_remembered(index, scans.parent)
    monkeypatch.setattr("pipeline.readers.index._code", lambda: "another version")
    assert not is_remembered(index, scans)


def test_what_may_change_without_a_trace_is_not_remembered(scans: Path, index: FolderIndex) -> None:
    recent = FolderIndex(index.path)
    discover(scans, OPTIONS, index=recent)  # its files were written a moment ago
    assert not is_remembered(recent, scans)
    (scans / "away.nii").symlink_to(scans / "nowhere")
    found = discover(scans, OPTIONS, index=index)
    assert Code.UNREADABLE in {refusal.code for refusal in found.refusals}
    assert not is_remembered(index, scans)


def test_digests_are_added_when_they_were_taken(scans: Path, index: FolderIndex) -> None:
    found = discover(scans, OPTIONS, digests=False, index=index)
    assert is_remembered(index, scans, digests=False)
    assert not is_remembered(index, scans)
    told = {str(file.path): sha256(file.path.read_bytes()).hexdigest() for file in found.files[:3]}
    whole = digested(found, told)
    assert facts(whole) == facts(discover(scans, OPTIONS))
    index.complete(whole, OPTIONS)
    assert is_remembered(index, scans)
    assert facts(discover(scans, OPTIONS, index=index)) == facts(whole)


def test_digests_of_what_was_found_before_a_change_are_not_added(scans: Path, index: FolderIndex) -> None:
    old = digested(discover(scans, OPTIONS, digests=False, index=index), {})
    (scans / "ä.nii").unlink()
    discover(scans, OPTIONS, digests=False, index=index)
    index.complete(old, OPTIONS)
    assert not is_remembered(index, scans)


@pytest.mark.parametrize("damage", ["bytes", "row", "folder", "locked"])
def test_a_damaged_index_costs_time_and_no_more(
    scans: Path, index: FolderIndex, damage: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = discover(scans, OPTIONS, index=index)
    holder = sqlite3.connect(index.path)
    if damage == "bytes":
        holder.close()
        index.path.write_bytes(b"no database" * 400)
    elif damage == "row":
        with holder:
            holder.execute("UPDATE folders SET found = substr(found, 1, length(found) - 9)")
    elif damage == "folder":
        index = FolderIndex(index.path / "below a file")
    else:
        monkeypatch.setattr("pipeline.readers.index.BUSY_SECONDS", 0.0)
        holder.execute("BEGIN EXCLUSIVE")
    assert facts(discover(scans, OPTIONS, index=index)) == facts(first)
    assert "the index" in caplog.text
    assert "PAT" not in caplog.text
    holder.close()
    if damage != "folder":
        discover(scans, OPTIONS, index=index)
        assert is_remembered(index, scans)


def test_a_damaged_index_that_cannot_be_removed_ends_nothing(
    scans: Path, index: FolderIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = discover(scans, OPTIONS, index=index)
    index.path.write_bytes(b"no database" * 400)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert facts(discover(scans, OPTIONS, index=index)) == facts(first)
