"""Pixel Data is found in a file without parsing it, and is what pydicom finds; what is odd is left to pydicom."""

import struct
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_series import expected_affine, make_voxels, write_series
from phantoms.readings import assert_all_right, assert_refused, read_folder
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders import RLELosslessDecoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom import decoding
from pipeline.readers.dicom.pixel_data import open_image

SHIPPED = sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm"))
SHAPE = (6, 5, 4)
AFFINE = expected_affine()
LIMIT = 2**30


def test_the_pixel_data_of_real_files_is_that_which_pydicom_finds() -> None:
    compared = plain = 0
    for path in SHIPPED:
        try:
            dataset = dcmread(path, force=True)
            image = open_image(path.read_bytes(), LIMIT)
        except (InvalidDicomError, RejectedInput, EOFError, ValueError, NotImplementedError):
            continue
        if "PixelData" not in dataset:
            continue
        assert image.pixels == dataset.PixelData, path.name
        assert image.is_words == (dataset["PixelData"].VR == "OW"), path.name
        compared += 1
        plain += "PixelData" not in image.dataset
    assert compared >= 50
    assert plain >= 25


@pytest.mark.parametrize(
    ("syntax", "is_plain"),
    [
        (ImplicitVRLittleEndian, True),
        (ExplicitVRLittleEndian, True),
        (RLELossless, True),
        (ExplicitVRBigEndian, False),
    ],
)
def test_only_plain_files_are_read_without_pydicom(tmp_path: Path, syntax: UID, is_plain: bool) -> None:
    path = write_series(tmp_path, make_voxels(SHAPE), transfer_syntax=syntax)[0]
    image = open_image(path.read_bytes(), LIMIT)
    assert ("PixelData" not in image.dataset) == is_plain
    assert image.pixels == dcmread(path).PixelData


PADDING = struct.pack("<HH2s2xL", 0xFFFC, 0xFFFC, b"OB", 64) + bytes(range(64))
VENDORS = struct.pack("<HH2sH", 0x7FE1, 0x10, b"LO", 8) + b"CREATOR1"


@pytest.mark.parametrize("tail", [PADDING, 2 * PADDING, bytes(64), VENDORS + PADDING], ids=range(4))
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless], ids=lambda syntax: syntax.keyword)
def test_what_follows_the_pixel_data_is_none_of_it(tmp_path: Path, syntax: UID, tail: bytes) -> None:
    """Padding, once and again, zeros, and a vendor's group; what belongs before it is a matter of test_damage."""
    stored = make_voxels((33, 35, 3))
    paths = write_series(tmp_path, stored, transfer_syntax=syntax)
    for path in paths:
        path.write_bytes(path.read_bytes() + tail)
    assert "PixelData" in open_image(paths[0].read_bytes(), LIMIT).dataset, "pydicom judges what follows"
    assert_all_right(read_folder(tmp_path), [(stored, AFFINE)])


@pytest.mark.parametrize("excess", [b"\0", bytes(100)])
def test_run_lengths_may_be_filled_up_with_zeros(tmp_path: Path, excess: bytes) -> None:
    stored = make_voxels(SHAPE)
    for path in write_series(tmp_path, stored, transfer_syntax=RLELossless):
        dataset = dcmread(path)
        stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([stream + excess])
        dataset.save_as(path)
    assert_all_right(read_folder(tmp_path), [(stored, AFFINE)])


@pytest.mark.parametrize(
    "header", [[0], [2], [1, 64, 60], [1, 0], [1, 60], [1, 64, 2**31], [3, 64, 70, 80], [2**32 - 1, 64], [2, 64, 64]]
)
def test_the_header_of_run_lengths_makes_no_decoder_crash(tmp_path: Path, header: list[int]) -> None:
    """It has the number of segments, and where each begins; 8 bits are one segment."""
    (path,) = write_series(tmp_path, make_voxels((6, 5, 1), high=256, dtype=np.uint8), transfer_syntax=RLELossless)
    dataset = dcmread(path)
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([struct.pack("<16L", *header, *[0] * (16 - len(header))) + stream[64:]])
    dataset.save_as(path)
    reading = read_folder(tmp_path)
    if header[:2] == [1, 64]:  # what follows the segments in use means nothing
        assert len(reading.volumes) == 1
    else:
        assert_refused(reading, Code.CORRUPT, Code.TRUNCATED)


def test_a_segment_of_run_lengths_that_is_short_beside_one_that_is_long(tmp_path: Path) -> None:
    """Together they have the right number of bytes."""
    (path,) = write_series(tmp_path, make_voxels((6, 5, 1)), transfer_syntax=RLELossless)
    planes = [bytes([27, *range(28)]), bytes([31, *range(32)])]
    start = 64 + len(planes[0])
    dataset = dcmread(path)
    dataset.PixelData = encapsulate([struct.pack("<16L", 2, 64, start, *[0] * 13) + b"".join(planes)])
    dataset.save_as(path)
    assert_refused(read_folder(tmp_path), Code.TRUNCATED)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_run_lengths_are_those_of_an_independent_decoder(tmp_path: Path, dtype: type) -> None:
    """Runs, literals and lines of one value, in cells of one and two bytes."""
    stored = make_voxels((64, 48, 3), high=120, dtype=dtype)
    stored[:, 7], stored[9] = 5, 111
    paths = write_series(tmp_path, stored, transfer_syntax=RLELossless)
    for k, path in enumerate(paths):
        native, _ = RLELosslessDecoder.as_array(dcmread(path), raw=True)
        np.testing.assert_array_equal(native, stored[:, :, k].T)
    assert_all_right(read_folder(tmp_path), [(stored, AFFINE)])


@pytest.mark.parametrize("shape", [(6, 4), (6, 6)])
def test_run_lengths_of_another_size(tmp_path: Path, shape: tuple[int, int]) -> None:
    for path in write_series(tmp_path, make_voxels((*shape, 3)), transfer_syntax=RLELossless):
        dataset = dcmread(path)
        dataset.Rows = SHAPE[1]
        dataset.save_as(path)
    assert_refused(read_folder(tmp_path), Code.CORRUPT, Code.BAD_PIXELS, Code.TRUNCATED)


@pytest.mark.parametrize("kept", [0.4, 0.9])
def test_run_lengths_that_end_early(tmp_path: Path, kept: float) -> None:
    for path in write_series(tmp_path, make_voxels(SHAPE), transfer_syntax=RLELossless):
        dataset = dcmread(path)
        stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([stream[: int(len(stream) * kept)]])
        dataset.save_as(path)
    assert_refused(read_folder(tmp_path), Code.CORRUPT, Code.BAD_PIXELS, Code.TRUNCATED)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=lambda syntax: syntax.keyword)
def test_a_missing_codec_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: UID) -> None:
    """A build of imagecodecs without a decoder raises ImportError when it is called."""

    def missing(stream: bytes) -> None:
        raise ImportError("could not import name 'codec_decode' from 'imagecodecs'")

    write_series(tmp_path, make_voxels((33, 35, 2)), transfer_syntax=syntax)
    monkeypatch.setitem(decoding.DECODERS, syntax, missing)
    reading = read_folder(tmp_path)
    assert_refused(reading, Code.NO_CODEC)
    assert "imagecodecs" in reading.messages[0]
    assert syntax.name in reading.messages[0]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize(("claimed", "code"), [(3, Code.BAD_PIXELS), (5, Code.TRUNCATED)])
def test_another_number_of_compressed_frames_than_the_header_says(
    tmp_path: Path, syntax: UID, claimed: int, code: Code
) -> None:
    path = write_enhanced(tmp_path / "a.dcm", make_frames(make_voxels((33, 35, 4))), transfer_syntax=syntax)
    dataset = dcmread(path)
    frames = list(dataset.PerFrameFunctionalGroupsSequence)
    dataset.PerFrameFunctionalGroupsSequence = [*frames, deepcopy(frames[-1])][:claimed]
    if claimed > 4:
        dataset.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 4]
    dataset.NumberOfFrames = claimed
    dataset.save_as(path)
    assert_refused(read_folder(tmp_path), code)
