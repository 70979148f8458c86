"""Compressed pixels that disagree with the header about size, depth or sign: right or refused, never wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openjpeg.utils
import pytest
from numpy.typing import NDArray
from phantoms.dicom_objects import write_encapsulated
from phantoms.dicom_series import (
    AXIAL,
    Identity,
    expected_affine,
    make_image,
    make_voxels,
)
from phantoms.readings import assert_refused, assert_right_or_refused, read_folder
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
)

from pipeline.domain.codes import Code

AFFINE = expected_affine()
Voxels = NDArray[Any]

TALL = (33, 35, 3)


def write_streams(folder: Path, voxels: Voxels, streams: list[bytes], bits_stored: int = 16) -> None:
    """A JPEG 2000 series whose header is that of `voxels` and whose codestreams are given."""
    for k, stream in enumerate(streams):
        dataset = make_image(voxels[:, :, k], Identity(), "CT", bits_stored, instance=str(k))
        dataset.ImageOrientationPatient = [*AXIAL[0], *AXIAL[1]]
        dataset.ImagePositionPatient = [0, 0, k]
        dataset.PixelSpacing = [1, 1]
        dataset.FrameOfReferenceUID = Identity().frame_uid
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
        dataset.save_as(folder / f"{k}.dcm", enforce_file_format=True)


def streams_of(stored: Voxels, depth: int) -> list[bytes]:
    slices = [np.ascontiguousarray(stored[:, :, k].T) for k in range(stored.shape[2])]
    return [bytes(openjpeg.utils.encode_array(rows, bits_stored=depth)) for rows in slices]


def test_signed_header_over_an_unsigned_jpeg_2000_stream(tmp_path: Path) -> None:
    """The stream holds the two's complement cells as unsigned numbers."""
    stored = make_voxels(TALL, low=-2048, high=2048, dtype=np.int16)
    cells = (stored & 0xFFF).astype(np.uint16)
    write_streams(tmp_path, stored, streams_of(cells, 12), bits_stored=12)
    assert_right_or_refused(read_folder(tmp_path), [(stored, AFFINE)], Code.BAD_PIXELS)


def test_unsigned_header_over_a_signed_jpeg_2000_stream(tmp_path: Path) -> None:
    """Negative numbers can be no unsigned pixels; those below zero are the cells of large ones."""
    stored = make_voxels(TALL, high=4096)
    signed = np.where(stored >= 2048, stored.astype(np.int32) - 4096, stored).astype(np.int16)
    write_streams(tmp_path, stored, streams_of(signed, 12), bits_stored=12)
    assert_right_or_refused(read_folder(tmp_path), [(stored, AFFINE)], Code.BAD_PIXELS)


@pytest.mark.parametrize(("header_bits", "stream_bits"), [(12, 16), (16, 12), (10, 12)])
def test_jpeg_2000_of_another_depth_than_the_header_says(tmp_path: Path, header_bits: int, stream_bits: int) -> None:
    """Values fit both depths, so that right has one meaning."""
    stored = make_voxels(TALL, high=1024)
    write_streams(tmp_path, stored, streams_of(stored, stream_bits), bits_stored=header_bits)
    assert_right_or_refused(read_folder(tmp_path), [(stored, AFFINE)], Code.BAD_PIXELS)


def test_jpeg_2000_of_a_depth_that_the_header_cannot_hold(tmp_path: Path) -> None:
    stored = make_voxels(TALL, high=65536)
    write_streams(tmp_path, stored, streams_of(stored, 16), bits_stored=12)
    assert_right_or_refused(read_folder(tmp_path), [(stored, AFFINE)], Code.BAD_PIXELS)


def test_jpeg_2000_of_8_bits_under_a_header_of_16(tmp_path: Path) -> None:
    stored = make_voxels(TALL, high=256)
    write_streams(tmp_path, stored, streams_of(stored.astype(np.uint8), 8))
    assert_right_or_refused(read_folder(tmp_path), [(stored, AFFINE)], Code.BAD_PIXELS)


def test_jpeg_2000_of_another_size(tmp_path: Path) -> None:
    stored = make_voxels(TALL)
    streams = streams_of(make_voxels((35, 33, 3)), 16)
    write_streams(tmp_path, stored, streams)
    assert_refused(read_folder(tmp_path), Code.BAD_PIXELS)


@pytest.mark.parametrize("spoil", [lambda s: s[: len(s) // 2], lambda s: s[:20], lambda s: bytes(900)])
def test_a_broken_jpeg_2000_stream(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    stored = make_voxels(TALL)
    streams = streams_of(stored, 16)
    streams[1] = spoil(streams[1])
    write_streams(tmp_path, stored, streams)
    assert_refused(read_folder(tmp_path), Code.BAD_PIXELS, Code.CORRUPT, Code.TRUNCATED)


def test_a_transfer_syntax_that_nobody_reads(tmp_path: Path) -> None:
    write_encapsulated(
        tmp_path / "a.dcm", make_voxels((8, 8, 1))[:, :, 0], bytes(64), UID("1.2.840.10008.1.2.4.103"), "MONOCHROME2"
    )
    assert_refused(read_folder(tmp_path), Code.NO_CODEC, Code.NOT_SUPPORTED)
