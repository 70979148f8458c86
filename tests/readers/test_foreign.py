"""Images of other formats, and packed ones, are rejected with a word on what to do, never passed over."""

import bz2
import gzip
import lzma
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from phantoms.dicom_series import make_voxels, write_series
from phantoms.niftis import nifti, voxels
from PIL import Image

from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions

SOUND = nifti(voxels((4, 3, 2)))
PICTURE = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))


def verdict(folder: Path) -> tuple[str, str]:
    (refusal,) = discover(folder, ReadOptions(modality="MR")).refusals
    return str(refusal.code), refusal.message


@pytest.mark.parametrize("head", [b"II*\0", b"GIF89a", b"NRRD0004\n", b"\xff\x4f\xff\x51", b"\0\0\0\x18ftypheic"])
def test_by_how_it_begins_whatever_its_name(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "scan").write_bytes(head + bytes(100))
    code, message = verdict(tmp_path)
    assert code == "NOT_SUPPORTED" and "not read" in message


@pytest.mark.parametrize("form", ["BMP", "WEBP", "JPEG2000", "TIFF", "GIF"])
def test_pictures_of_other_formats_as_they_are_written(tmp_path: Path, form: str) -> None:
    PICTURE.save(tmp_path / "scan", form)
    assert verdict(tmp_path)[0] == "NOT_SUPPORTED"


@pytest.mark.parametrize("form", [nib.MGHImage, nib.analyze.AnalyzeImage, nib.spm99analyze.Spm99AnalyzeImage])
@pytest.mark.parametrize("order", ["<", ">"])
def test_volumes_of_other_formats_as_they_are_written(tmp_path: Path, form: type, order: str) -> None:
    if form is nib.MGHImage:
        nib.save(form(np.ones((4, 3, 2), np.float32), np.eye(4)), tmp_path / "scan.mgz")
    else:
        header = form.header_class(endianness=order)  # type: ignore[attr-defined]
        nib.save(form(np.ones((4, 3, 2), np.int16), np.eye(4), header), tmp_path / "scan.hdr")
        for path in tmp_path.glob("*"):
            if path.suffix != ".hdr":  # bare voxels, which say nothing
                path.unlink()
    assert verdict(tmp_path)[0] == "NOT_SUPPORTED"


@pytest.mark.parametrize("name", ["0.dcm.gz", "0"])
def test_packed_dicom_is_known_by_what_it_holds(tmp_path: Path, name: str) -> None:
    (path,) = write_series(tmp_path / "plain", make_voxels((6, 5, 1)))
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / name).write_bytes(gzip.compress(path.read_bytes()))
    code, message = verdict(tmp_path / "packed")
    assert code == "NOT_SUPPORTED" and "unpack it" in message


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.nii.bz2", bz2.compress(SOUND)),
        ("a.NII.xz", lzma.compress(SOUND)),
        ("a.dcm.bz2", bz2.compress(bytes(200))),
        ("a.mha", b"NDims = 3\nObjectType = Image\n"),
        ("a.mhd", b"Comment = x\n"),
        ("a.par", b"# === DATA DESCRIPTION FILE ======\n"),
    ],
)
def test_by_name_where_the_beginning_does_not_tell(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert verdict(tmp_path)[0] == "NOT_SUPPORTED"


def test_an_empty_one_is_truncated(tmp_path: Path) -> None:
    (tmp_path / "a.dcm.gz").write_bytes(b"")
    assert verdict(tmp_path)[0] == "TRUNCATED"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"BM is a start of words, not of a bitmap"),
        ("data.gz", gzip.compress(b"a,b\n1,2\n" * 40, mtime=0)),
        ("calibration.hdr", b"ENVI\nsamples = 3\n"),
        ("table.par", b"alpha = 3\n"),
        ("run.img", bytes([1, 2, 3, 4] * 20)),
    ],
)
def test_what_is_no_image_is_passed_over(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert verdict(tmp_path)[0] == "NOT_AN_IMAGE"
