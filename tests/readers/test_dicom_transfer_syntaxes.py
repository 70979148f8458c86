"""Every transfer syntax that images come in, out of the box, with known voxels; lossy ones by an independent decoder.

Lossless: the voxels that were written. Lossy: within the error of the format, and what another decoder gives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import jpeg_ls
import numpy as np
import openjpeg
import openjpeg.utils
import pytest
from numpy.typing import NDArray
from phantoms import jpeg_lossless
from phantoms.dicom_series import Identity, expected_affine, make_image, save, slice_position, write_series
from phantoms.readings import assert_all_right, assert_refused, read_folder
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from pipeline.domain.codes import Code

SHAPE = (40, 36, 3)
SPACING = (0.7, 0.8, 2.5)
AFFINE = expected_affine(spacing=SPACING)
NEAR = 3
"""Largest error of the near-lossless JPEG-LS streams."""

Rows = NDArray[Any]
Encode = Callable[[Rows], bytes]


@dataclass(frozen=True)
class Form:
    """How frames (rows, columns) are written; `decode` is an independent decoder of those that lose something."""

    syntax: UID
    bits: int
    encode: Encode | None = None
    decode: Callable[[bytes], Any] | None = None
    error: int = 0


def jpeg(rows: Rows) -> bytes:
    stream = BytesIO()
    Image.fromarray(rows.astype(np.uint8)).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def pillow(stream: bytes) -> Rows:
    return np.asarray(Image.open(BytesIO(stream)))


def jpeg_12(rows: Rows) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(rows, level=95, bitspersample=12))


def sof3(rows: Rows) -> bytes:
    return jpeg_lossless.encode(rows, 12)


def near_lossless(rows: Rows) -> bytes:
    return jpeg_ls.encode(rows, lossy_error=NEAR).tobytes()


def charls(stream: bytes) -> Rows:
    return np.asarray(jpeg_ls.decode(np.frombuffer(stream, np.uint8)))


def j2k(rows: Rows) -> bytes:
    return bytes(openjpeg.utils.encode_array(rows, bits_stored=12))


def lossy_j2k(rows: Rows) -> bytes:
    return bytes(openjpeg.utils.encode_array(rows, bits_stored=12, compression_ratios=[4]))


def htj2k(rows: Rows) -> bytes:
    return bytes(imagecodecs.htj2k_encode(rows, reversible=True))


def lossy_htj2k(rows: Rows) -> bytes:
    return bytes(imagecodecs.htj2k_encode(rows, level=0.001, reversible=False))


IN_ITEMS = UID("1.2.840.10008.1.2.1.98")
"""Encapsulated Uncompressed Explicit VR Little Endian."""

FORMS = [
    Form(ImplicitVRLittleEndian, 12),
    Form(ExplicitVRLittleEndian, 12),
    Form(ExplicitVRBigEndian, 12),
    Form(DeflatedExplicitVRLittleEndian, 12),
    Form(RLELossless, 12),
    Form(IN_ITEMS, 8, lambda rows: rows.tobytes()),
    Form(IN_ITEMS, 12, lambda rows: rows.tobytes()),
    Form(JPEGBaseline8Bit, 8, jpeg, pillow, error=24),
    Form(JPEGExtended12Bit, 8, jpeg, pillow, error=24),
    Form(JPEGExtended12Bit, 12, jpeg_12, error=400),
    Form(JPEGLossless, 12, sof3),
    Form(JPEGLosslessSV1, 12, sof3),
    Form(JPEGLSLossless, 12),
    Form(JPEGLSNearLossless, 12, near_lossless, charls, error=NEAR),
    Form(JPEG2000Lossless, 12, j2k),
    Form(JPEG2000, 12, lossy_j2k, openjpeg.decode, error=400),
    Form(HTJ2KLossless, 12, htj2k),
    Form(HTJ2KLosslessRPCL, 12, htj2k),
    Form(HTJ2K, 12, lossy_htj2k, imagecodecs.htj2k_decode, error=400),
]


def voxels_of(form: Form) -> Rows:
    """Waves with a little noise, which lossy formats keep nearly; the whole range is used."""
    i, j, k = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    top = 2**form.bits - 1
    waves = np.sin(i / 5 + k) * np.cos(j / 7) * 0.45 + 0.5 + np.random.default_rng(3).normal(0, 0.005, SHAPE)
    stored = np.clip(waves * top, 0, top).astype(np.uint8 if form.bits == 8 else np.uint16)
    stored[0, 0], stored[1, 0] = 0, top
    return stored


def write(folder: Path, stored: Rows, form: Form) -> list[bytes]:
    """Write a series; return its streams, where they are ours to make."""
    if form.encode is None:
        write_series(folder, stored, bits_stored=form.bits, spacing=SPACING, transfer_syntax=form.syntax)
        return []
    streams = [form.encode(np.ascontiguousarray(stored[:, :, k].T)) for k in range(SHAPE[2])]
    for k, stream in enumerate(streams):
        write_stream(folder / f"{k}.dcm", stored, k, form, stream)
    return streams


def write_stream(path: Path, stored: Rows, k: int, form: Form, stream: bytes) -> None:
    dataset = make_image(stored[:, :, k], Identity(), "CT", form.bits, instance=str(k))
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.ImagePositionPatient = slice_position(((1, 0, 0), (0, 1, 0)), (0, 0, 0), SPACING, k)
    dataset.PixelSpacing = [SPACING[1], SPACING[0]]
    dataset.FrameOfReferenceUID = Identity().frame_uid
    save(dataset, path)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = form.syntax
    dataset.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.syntax.keyword or form.syntax} {form.bits} bits")
def test_every_transfer_syntax_is_read_out_of_the_box(tmp_path: Path, form: Form) -> None:
    stored = voxels_of(form)
    streams = write(tmp_path, stored, form)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(stored, AFFINE)], atol=form.error)
    if form.decode is not None:
        other = np.stack([np.asarray(form.decode(stream)).T for stream in streams], axis=-1)
        np.testing.assert_allclose(reading.volume.voxels[0], other, rtol=0, atol=1)


@pytest.mark.parametrize("kept", [0.5, 0.97])
@pytest.mark.parametrize(
    "form",
    [form for form in FORMS if form.encode],
    ids=lambda form: f"{form.syntax.keyword or form.syntax} {form.bits} bits",
)
def test_a_stream_that_is_cut_off_is_refused(tmp_path: Path, form: Form, kept: float) -> None:
    """In a file that is whole. Several decoders fill up with grey, and say nothing."""
    stored = voxels_of(form)
    streams = write(tmp_path, stored, form)
    write_stream(tmp_path / "1.dcm", stored, 1, form, streams[1][: int(len(streams[1]) * kept)])
    assert_refused(read_folder(tmp_path), Code.TRUNCATED, Code.CORRUPT, Code.BAD_PIXELS)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [(np.uint8, 0, 256), (np.uint16, 0, 65536), (np.int16, -32768, 32768), (np.int16, -1024, 3072)],
)
def test_depth_and_sign_of_high_throughput_jpeg_2000(tmp_path: Path, dtype: type, low: int, high: int) -> None:
    """Its encoder and our decoder are of two libraries."""
    stored = np.random.default_rng(4).integers(low, high, SHAPE).astype(dtype)
    stored[0, 0], stored[1, 0] = low, high - 1
    form = Form(HTJ2KLossless, 8 * stored.itemsize, htj2k)
    write(tmp_path, stored, form)
    assert_all_right(read_folder(tmp_path), [(stored, AFFINE)])


def mislabel(path: Path, syntax: UID) -> None:
    """Give a file a transfer syntax that its data set does not have."""
    content = path.read_bytes()
    dataset = dcmread(path)
    start = content.index(b"\x08\x00", 144 + int.from_bytes(content[140:144], "little"))
    dataset.file_meta.TransferSyntaxUID = syntax
    head = DicomBytesIO()
    head.is_little_endian, head.is_implicit_VR = True, False
    write_file_meta_info(head, dataset.file_meta)
    path.write_bytes(bytes(128) + b"DICM" + head.getvalue() + content[start:])


NATIVE = [
    Form(ImplicitVRLittleEndian, 12),
    Form(ExplicitVRLittleEndian, 12),
]


@pytest.mark.parametrize(("written", "said"), [NATIVE, NATIVE[::-1]], ids=["implicit", "explicit"])
def test_value_representations_that_the_transfer_syntax_denies(tmp_path: Path, written: Form, said: Form) -> None:
    """What pydicom and SimpleITK read: whether elements have them, their bytes tell."""
    stored = voxels_of(written)
    write(tmp_path, stored, written)
    for path in tmp_path.iterdir():
        mislabel(path, said.syntax)
    assert_all_right(read_folder(tmp_path), [(stored, AFFINE)])


def test_a_mislabelled_file_that_is_cut_off(tmp_path: Path) -> None:
    written, said = NATIVE
    write(tmp_path, voxels_of(written), written)
    for path in tmp_path.iterdir():
        mislabel(path, said.syntax)
        path.write_bytes(path.read_bytes()[:-2])
    assert_refused(read_folder(tmp_path), Code.TRUNCATED)


@pytest.mark.parametrize(
    ("written", "said", "words"),
    [
        (
            Form(ExplicitVRLittleEndian, 12),
            RLELossless,
            "is uncompressed, TransferSyntaxUID says that it is compressed",
        ),
        (
            Form(RLELossless, 12),
            ExplicitVRLittleEndian,
            "is compressed, TransferSyntaxUID says that it is uncompressed",
        ),
        (
            Form(RLELossless, 12),
            ImplicitVRLittleEndian,
            "is compressed, TransferSyntaxUID says that it is uncompressed",
        ),
        (Form(JPEG2000Lossless, 12, j2k), ExplicitVRLittleEndian, "TransferSyntaxUID"),
    ],
    ids=["unpacked", "packed", "packed, said to be implicit", "a stream that ends early as native pixels"],
)
def test_compression_that_the_transfer_syntax_denies(tmp_path: Path, written: Form, said: UID, words: str) -> None:
    """Copying the file again helps nobody."""
    write(tmp_path, voxels_of(written), written)
    for path in tmp_path.iterdir():
        mislabel(path, said)
    reading = read_folder(tmp_path)
    assert_refused(reading, Code.BAD_HEADER)
    assert words in reading.messages[0]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (Form(JPEGLSLossless, 12), JPEG2000Lossless),
        (Form(JPEGLossless, 12, sof3), HTJ2K),
        (Form(JPEG2000Lossless, 12, j2k), JPEGLSLossless),
        (Form(HTJ2KLossless, 12, htj2k), JPEGLosslessSV1),
    ],
    ids=lambda value: value.keyword if isinstance(value, UID) else value.syntax.keyword,
)
def test_a_stream_of_another_kind_than_the_transfer_syntax_says(tmp_path: Path, written: Form, said: UID) -> None:
    write(tmp_path, voxels_of(written), written)
    for path in tmp_path.iterdir():
        mislabel(path, said)
    reading = read_folder(tmp_path)
    assert_refused(reading, Code.BAD_HEADER)
    assert said.name in reading.messages[0]
