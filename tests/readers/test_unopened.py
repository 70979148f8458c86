"""What may hold scans and is not opened is rejected, so that no CD vanishes without a word."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from phantoms.archives import write_zip
from phantoms.dicom_series import make_voxels, write_series
from phantoms.niftis import nifti, voxels

from pipeline.domain.codes import Code
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.unopened import WIPED_BYTES

OPTIONS = ReadOptions(modality="MR")
SOUND = nifti(voxels((4, 3, 2)))
Verdicts = dict[str, tuple[str, str]]


def verdicts(root: Path) -> Verdicts:
    return {one.file.relative: (str(one.code), one.message) for one in discover(root, OPTIONS).refusals}


@pytest.fixture
def packed(tmp_path: Path) -> bytes:
    return write_zip(tmp_path / "made.zip", {"a.nii": SOUND, "b.nii": SOUND + bytes(5000)}).read_bytes()


def tar(mode: str) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode=mode) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("a.nii")
        info.size = len(SOUND)
        archive.addfile(info, io.BytesIO(SOUND))
    return target.getvalue()


@pytest.mark.parametrize(
    ("damage", "code", "says"),
    [
        (lambda content: bytes(512) + content[512:], "CORRUPT", "does not begin as one"),
        (lambda content: bytes(2048) + content[2048:], "CORRUPT", "does not begin as one"),
        (lambda _: b"no archive at all", "CORRUPT", "does not begin as one"),
        (lambda _: b"", "TRUNCATED", "empty"),
        (lambda content: b"MZ" + bytes(3000) + content, "NOT_SUPPORTED", "extracts itself"),
        (lambda content: b"PK00" + content, "NOT_SUPPORTED", "in several"),
        (lambda content: b"PK\x07\x08" + content, "NOT_SUPPORTED", "in several"),
    ],
)
@pytest.mark.parametrize("name", ["CD.zip", "CD.ZIP"])
def test_a_zip_that_does_not_begin_as_one(tmp_path: Path, packed: bytes, damage, code, says, name) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / name).write_bytes(damage(packed))
    ((found, message),) = verdicts(tmp_path / "scans").values()
    assert found == code and says in message
    assert any(word in message for word in ("copy it", "unpack")), "no remedy"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(100)),
        ("seven", b"7z\xbc\xaf\x27\x1c" + bytes(100)),
        ("rar", b"Rar!\x1a\x07\x01\0" + bytes(100)),
        ("a.tar", tar("w")),
        ("tar", tar("w")),
        ("a.tgz", tar("w:gz")),
        ("gzipped", tar("w:gz")),
        ("a.tar.gz", b"damaged"),
        ("a.tar.xz", tar("w:xz")),
        ("disc", bytes(0x8000) + b"\x01CD001" + bytes(3000)),
        ("a.zip.002", b"the rest of an archive"),
        ("a.z01", b"the rest of an archive"),
    ],
)
def test_an_archive_of_another_kind(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    ((code, message),) = verdicts(tmp_path).values()
    assert code == Code.NOT_SUPPORTED and "unpack" in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.gz", gzip.compress(b"a line\n" * 99, mtime=0)),
        ("notes.txt", b"about a.zip"),
        ("empty", b""),
        ("flag", bytes(WIPED_BYTES - 1)),
        ("voxels.img", bytes(9000)),
        ("half", bytes(WIPED_BYTES - 1) + b"\x01" * 99),
    ],
)
def test_what_is_neither_is_passed_over(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert verdicts(tmp_path)[name][0] == Code.NOT_AN_IMAGE


@pytest.mark.parametrize("name", ["IM0003", "IM0003.dcm", "IM0003.nii"])
def test_a_file_whose_beginning_is_wiped_out(tmp_path: Path, name: str) -> None:
    paths = write_series(tmp_path, make_voxels((40, 36, 4)))
    content = paths[-1].read_bytes()
    paths[-1].unlink()
    (tmp_path / name).write_bytes(bytes(WIPED_BYTES) + content[WIPED_BYTES:])
    assert verdicts(tmp_path)[name][0] == Code.CORRUPT
