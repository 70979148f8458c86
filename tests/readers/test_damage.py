"""Damage that a fuzzer found to be read wrong, or to end the process: each is refused."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import expected_affine, make_voxels, set_text, without, write_series
from phantoms.jpeg_lossless import encode
from phantoms.niftis import nifti
from phantoms.pictures import SIGNATURE, chunk, png
from phantoms.readings import assert_refused, assert_right, read_folder
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.domain.codes import Code
from pipeline.readers.options import ReadOptions

PICTURES = ReadOptions(modality="XC")
SPACING = 0x00280030


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
def test_an_element_that_stands_twice(tmp_path: Path, syntax: UID) -> None:
    """PixelSpacing of 1 mm, and once more of 3 mm: some readers take the first, others the last."""
    paths = write_series(tmp_path, make_voxels((6, 5, 3)), transfer_syntax=syntax)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    head = struct.pack(f"{order}HH", SPACING >> 16, SPACING & 0xFFFF)
    head += struct.pack("<L", 8) if syntax == ImplicitVRLittleEndian else b"DS" + struct.pack(f"{order}H", 8)
    for path in paths:
        content = path.read_bytes()
        start = 144 + struct.unpack_from("<L", content, 140)[0]
        is_deflated = syntax == DeflatedExplicitVRLittleEndian
        body = zlib.decompress(content[start:], -15) if is_deflated else content[start:]
        at = body.index(head)
        body = body[: at + len(head) + 8] + head + b"3.0\\3.0 " + body[at + len(head) + 8 :]
        if is_deflated:
            packer = zlib.compressobj(wbits=-15)
            body = packer.compress(body) + packer.flush()
        path.write_bytes(content[:start] + body)
    reading = read_folder(tmp_path)
    assert_refused(reading, Code.BAD_HEADER)
    assert "PixelSpacing stands twice" in reading.messages[0]


BEHIND = {
    "a rescale again": ([(0x00281052, "DS", b"500 ")], "RescaleIntercept stands twice"),
    "a place again": ([(0x00200032, "DS", b"9\\9\\9 ")], "ImagePositionPatient stands twice"),
    "a private element again": ([(0x00190010, "LO", b"CREATOR2")], "(0019,0010) stands twice"),
    "padding and a rescale": ([(0xFFFCFFFC, "OB", bytes(8)), (0x00281052, "DS", b"500 ")], "RescaleIntercept"),
    "what was not there": ([(0x00280120, "US", b"\0\0")], "PixelPaddingValue stands behind the pixel data"),
}


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
@pytest.mark.parametrize(("elements", "message"), BEHIND.values(), ids=BEHIND)
def test_an_element_of_the_header_behind_the_pixels(
    tmp_path: Path, syntax: UID, elements: list[tuple[int, str, bytes]], message: str
) -> None:
    """Discovery reads the beginning of a file alone, and pydicom takes the last of two."""
    tail = b""
    for tag, vr, value in elements:
        tail += struct.pack("<HH", tag >> 16, tag & 0xFFFF)
        if syntax == ImplicitVRLittleEndian:
            tail += struct.pack("<L", len(value)) + value
        elif vr == "OB":
            tail += struct.pack("<2s2xL", b"OB", len(value)) + value
        else:
            tail += struct.pack("<2sH", vr.encode(), len(value)) + value

    def edit(dataset: Dataset, k: int) -> None:
        set_text(dataset, 0x00190010, "LO", "CREATOR1")

    for path in write_series(tmp_path, make_voxels((33, 35, 3)), intercept=-1024.0, transfer_syntax=syntax, edit=edit):
        path.write_bytes(path.read_bytes() + tail)
    reading = read_folder(tmp_path)
    assert_refused(reading, Code.BAD_HEADER)
    assert message in reading.messages[0]


def test_a_deflated_element_behind_the_pixels(tmp_path: Path) -> None:
    for path in write_series(tmp_path, make_voxels((6, 5, 3)), transfer_syntax=DeflatedExplicitVRLittleEndian):
        content = path.read_bytes()
        start = 144 + struct.unpack_from("<L", content, 140)[0]
        packer = zlib.compressobj(wbits=-15)
        body = zlib.decompress(content[start:], -15) + struct.pack("<HH2sH", 0x28, 0x1052, b"DS", 4) + b"500 "
        path.write_bytes(content[:start] + packer.compress(body) + packer.flush())
    reading = read_folder(tmp_path)
    assert_refused(reading, Code.BAD_HEADER)
    assert "RescaleIntercept stands twice" in reading.messages[0]


def test_a_private_element_that_stands_twice_changes_nothing(tmp_path: Path) -> None:
    stored = make_voxels((6, 5, 3))

    def edit(dataset: Dataset, k: int) -> None:
        set_text(dataset, 0x00090010, "LO", "CREATOR1")

    private = struct.pack("<HH2sH", 9, 0x10, b"LO", 8) + b"CREATOR1"
    for path in write_series(tmp_path, stored, edit=edit):
        path.write_bytes(path.read_bytes().replace(private, 2 * private))
    assert_right(read_folder(tmp_path).volume, (stored, expected_affine()))


def recompress(path: Path, change: Callable[[bytes], bytes], syntax: UID, bits: int = 16) -> None:
    """Put a changed stream into a file, lossless JPEG where the file is not compressed."""
    dataset = dcmread(path)
    stream = (
        next(generate_frames(dataset.PixelData, number_of_frames=1))
        if dataset.file_meta.TransferSyntaxUID.is_compressed
        else encode(dataset.pixel_array, bits)
    )
    dataset.PixelData = encapsulate([change(stream)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)


def test_lossless_jpeg_with_a_flipped_bit(tmp_path: Path) -> None:
    """Each pixel is a difference from its neighbour: what follows the damage drifts out of the 12 bits."""
    (path,) = write_series(tmp_path, make_voxels((34, 32, 1)), bits_stored=12)
    flipped = bytes([0xA5])
    recompress(path, lambda s: s[:200] + flipped + s[201:], JPEGLosslessSV1, 12)
    assert_refused(read_folder(tmp_path), Code.CORRUPT)


def test_an_offset_table_that_points_into_a_fragment(tmp_path: Path) -> None:
    """Three frames in four fragments: without a sound table nobody knows which two belong together."""
    stored = make_voxels((6, 5, 3))
    path = write_enhanced(tmp_path / "a.dcm", make_frames(stored), transfer_syntax=RLELossless)
    dataset = dcmread(path)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=3))
    parts = [frames[0], frames[1][:70], frames[1][70:], frames[2]]
    starts = [0, 8 + len(frames[0]), 24 + len(frames[0]) + len(frames[1])]
    for change, is_sound in ((0, True), (-8, False)):
        table = struct.pack("<3L", *starts[:2], starts[2] + change)
        items = [table, *parts]
        dataset.PixelData = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item for item in items)
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(path)
        if is_sound:
            assert_right(read_folder(tmp_path).volume, (stored, expected_affine()))
        else:
            assert_refused(read_folder(tmp_path), Code.CORRUPT)


def test_run_lengths_whose_segments_lie_beyond_the_stream(tmp_path: Path) -> None:
    """The decoder reads whatever memory is there."""
    (path,) = write_series(tmp_path, make_voxels((6, 5, 1)), transfer_syntax=RLELossless)
    recompress(path, lambda s: s[:8] + struct.pack("<L", 0x02000000) + s[12:], RLELossless)
    assert_refused(read_folder(tmp_path), Code.CORRUPT, Code.TRUNCATED, Code.BAD_PIXELS)


def test_a_high_bit_that_compressed_pixels_cannot_have(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, make_voxels((34, 32, 1)), bits_stored=12, transfer_syntax=JPEGLSLossless)
    dataset = dcmread(path)
    dataset.HighBit = 15
    dataset.save_as(path)
    assert_refused(read_folder(tmp_path), Code.NOT_SUPPORTED)


@pytest.mark.parametrize("field", ["sform_code", "qform_code"])
@pytest.mark.parametrize("code", [-1, 6, 512])
def test_nifti_codes_that_do_not_exist(tmp_path: Path, field: str, code: int) -> None:
    """nibabel takes them for absent, ITK for present."""
    (tmp_path / "a.nii").write_bytes(nifti(**{field: code}))
    assert_refused(read_folder(tmp_path, ReadOptions(modality="MR")), Code.BAD_VALUE)


def test_a_png_that_cannot_hold_what_it_claims(tmp_path: Path) -> None:
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    (tmp_path / "a.png").write_bytes(SIGNATURE + chunk(b"IHDR", head) + data + chunk(b"IEND", b""))
    assert_refused(read_folder(tmp_path, PICTURES), Code.TRUNCATED)


def test_a_png_with_two_headers(tmp_path: Path) -> None:
    samples = np.zeros((3, 4, 1), np.uint8)
    other = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 4, 8, 0, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(png(samples, 0, extra=[other]))
    assert_refused(read_folder(tmp_path, PICTURES), Code.BAD_HEADER)


def test_a_jpeg_without_its_end(tmp_path: Path) -> None:
    stream = BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(stream, "JPEG")
    (tmp_path / "a.jpg").write_bytes(stream.getvalue()[:-2] + b"\xff\xdb")
    assert_refused(read_folder(tmp_path, PICTURES), Code.TRUNCATED)


@pytest.mark.parametrize("interlace", [False, True])
@pytest.mark.parametrize(("colour", "channels", "dtype"), [(0, 1, np.uint8), (0, 1, np.uint16), (2, 3, np.uint8)])
def test_a_png_with_fewer_rows_than_it_claims(
    tmp_path: Path, interlace: bool, colour: int, channels: int, dtype: type
) -> None:
    """Its stream is whole and its checksums are right; the decoder leaves the rest black."""
    content = png(np.ones((4, 3, channels), dtype), colour, interlace=interlace)
    (tmp_path / "whole.png").write_bytes(content)
    assert read_folder(tmp_path, PICTURES).volume.geometry.shape == (3, 4, 1)
    taller = struct.pack(">IIBBBBB", 3, 5, 8 * np.dtype(dtype).itemsize, colour, 0, 0, interlace)
    (tmp_path / "whole.png").write_bytes(content.replace(content[8:33], chunk(b"IHDR", taller)))
    assert_refused(read_folder(tmp_path, PICTURES), Code.TRUNCATED)


@pytest.mark.parametrize("vr", ["SV", "UV", "UT", "SQ"])
def test_pixel_data_of_a_value_representation_that_cannot_hold_it(tmp_path: Path, vr: str) -> None:
    for path in write_series(tmp_path, make_voxels((7, 5, 3)), edit=without("PatientAge")):
        content = path.read_bytes()
        at = content.rindex(b"\xe0\x7f\x10\x00OW")
        path.write_bytes(content[: at + 4] + vr.encode() + content[at + 6 :])
    reading = read_folder(tmp_path)
    assert_refused(reading, Code.BAD_HEADER, Code.TRUNCATED, Code.BAD_VALUE, Code.CORRUPT)


def test_a_palette_whose_entries_are_no_numbers(tmp_path: Path) -> None:
    def palette(dataset: Dataset) -> None:
        for colour in ("Red", "Green", "Blue"):
            setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
            setattr(dataset, f"{colour}PaletteColorLookupTableData", b"\x00\x01\x02\x03\x04\x05\x06\x07")
        set_text(dataset, 0x00281201, "LO", "a\\b\\c\\d")

    stored = make_voxels((6, 5, 1), high=4, dtype=np.uint8)[:, :, 0]
    write_radiograph(tmp_path / "a.dcm", stored, modality="US", photometric="PALETTE COLOR", edit=palette)
    assert_refused(read_folder(tmp_path), Code.BAD_VALUE)


def test_a_nifti_header_with_the_magic_of_the_other_version(tmp_path: Path) -> None:
    content = nifti(version=2)
    (tmp_path / "a.nii").write_bytes(content.replace(b"n+2\0", b"n+1\0", 1))
    assert_refused(read_folder(tmp_path, ReadOptions(modality="MR")), Code.BAD_HEADER)
