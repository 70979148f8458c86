"""Compressed pixels that disagree with the header about size, depth or sign: right or refused, never wrong."""

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openjpeg.utils
import pytest
from numpy.typing import NDArray
from phantoms import jpeg_lossless
from phantoms.dicom_objects import write_encapsulated
from phantoms.dicom_series import (
    AXIAL,
    Identity,
    expected_affine,
    make_image,
    make_voxels,
    write_series,
)
from phantoms.readings import assert_all_right, assert_refused, assert_right_or_refused, read_folder
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)

from pipeline.domain.codes import Code

AFFINE = expected_affine()
Voxels = NDArray[Any]

SHAPE = (6, 5, 4)
TALL = (33, 35, 3)


def write_streams(
    folder: Path, voxels: Voxels, streams: list[bytes], bits_stored: int = 16, syntax: UID = JPEG2000Lossless
) -> None:
    """A series whose header is that of `voxels` and whose compressed frames are given."""
    for k, stream in enumerate(streams):
        dataset = make_image(voxels[:, :, k], Identity(), "CT", bits_stored, instance=str(k))
        dataset.ImageOrientationPatient = [*AXIAL[0], *AXIAL[1]]
        dataset.ImagePositionPatient = [0, 0, k]
        dataset.PixelSpacing = [1, 1]
        dataset.FrameOfReferenceUID = Identity().frame_uid
        dataset.PixelData = encapsulate([stream])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
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


@pytest.mark.parametrize(("high", "is_told"), [(2048, True), (2049, False), (4096, False)])
def test_signed_header_over_a_lossless_jpeg_stream_of_fewer_bits(tmp_path: Path, high: int, is_told: bool) -> None:
    """What reaches the top bit of the stream may be a negative number or a large one."""
    stored = make_voxels(SHAPE, high=high, dtype=np.int16)
    stored.reshape(-1)[0] = high - 1
    streams = [jpeg_lossless.encode(stored[:, :, k].T, 12) for k in range(SHAPE[2])]
    write_streams(tmp_path, stored, streams, syntax=JPEGLosslessSV1)
    if is_told:
        assert_all_right(read_folder(tmp_path), [(stored, AFFINE)])
    else:
        assert_refused(read_folder(tmp_path), Code.BAD_PIXELS)


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


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize(
    ("dtype", "depth", "low", "high"),
    [
        pytest.param(np.uint8, 8, 0, 256, id="8 bit"),
        pytest.param(np.uint16, 12, 0, 4096, id="12 bit"),
        pytest.param(np.uint16, 16, 0, 65536, id="16 bit"),
        pytest.param(np.int16, 12, -2048, 2048, id="12 bit signed"),
        pytest.param(np.int16, 16, -32768, 32768, id="16 bit signed"),
    ],
)
def test_lossless_jpeg_is_read_out_of_the_box(
    tmp_path: Path, syntax: UID, dtype: Any, depth: int, low: int, high: int
) -> None:
    """Most archives hold it. The stream knows no sign: signed numbers stand in it as their cells."""
    stored = make_voxels(SHAPE, low=low, high=high, dtype=dtype)
    stored.reshape(-1)[:2] = low, high - 1
    cells = stored.astype(np.int64) & (2**depth - 1)
    streams = [jpeg_lossless.encode(cells[:, :, k].T, depth) for k in range(SHAPE[2])]
    write_streams(tmp_path, stored, streams, bits_stored=depth, syntax=syntax)
    assert_all_right(read_folder(tmp_path), [(stored, AFFINE)])


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(("dtype", "depth"), [(np.uint8, 8), (np.uint16, 12), (np.uint16, 16)])
def test_every_predictor_of_lossless_jpeg(tmp_path: Path, dtype: type, depth: int, predictor: int) -> None:
    """As an independent decoder gives it, and as it was written."""
    stored = make_voxels((17, 13, 3), high=2**depth, dtype=dtype)
    rows = [np.ascontiguousarray(stored[:, :, k].T) for k in range(3)]
    form = {"lossless": True, "predictor": predictor, "bitspersample": depth}
    streams = [bytes(imagecodecs.jpeg8_encode(one, **form)) for one in rows]
    np.testing.assert_array_equal(imagecodecs.jpegsof3_decode(streams[0]), rows[0])
    write_streams(tmp_path, stored, streams, bits_stored=depth, syntax=JPEGLossless)
    assert_all_right(read_folder(tmp_path), [(stored, AFFINE)])


@pytest.mark.parametrize("kept", [1.0, 0.98, 0.5])
def test_lossless_jpeg_without_its_last_marker(tmp_path: Path, kept: float) -> None:
    """Right where all data are there, refused where some are missing."""
    stored = make_voxels(SHAPE, high=4096)
    whole = [jpeg_lossless.encode(stored[:, :, k].T, 12)[:-2] for k in range(SHAPE[2])]
    streams = [stream[: int(kept * len(stream))] for stream in whole]
    write_streams(tmp_path, stored, streams, bits_stored=12, syntax=JPEGLosslessSV1)
    if kept == 1:
        assert_all_right(read_folder(tmp_path), [(stored, AFFINE)])
    else:
        assert_refused(read_folder(tmp_path), Code.TRUNCATED, Code.CORRUPT)


HOLES: dict[str, Callable[[bytes], bytes]] = {
    "the second half": lambda s: s[: len(s) // 2] + s[-2:],
    "the last bytes": lambda s: s[:-8] + s[-2:],
    "the middle": lambda s: s[: len(s) // 2] + s[len(s) // 2 + 200 :],
}
"""What is cut out of a stream that keeps its last marker."""


@pytest.mark.parametrize("hole", HOLES.values(), ids=HOLES)
@pytest.mark.parametrize("restart", [0, 5])
@pytest.mark.parametrize(("depth", "dtype"), [(8, np.uint8), (12, np.uint16), (16, np.uint16)])
def test_lossless_jpeg_with_a_hole(
    tmp_path: Path, depth: int, dtype: type, restart: int, hole: Callable[[bytes], bytes]
) -> None:
    """Both decoders fill up with what stood last and say nothing."""
    stored = make_voxels(TALL, high=2**depth, dtype=dtype)
    streams = [jpeg_lossless.encode(stored[:, :, k].T, depth, restart) for k in range(TALL[2])]
    (tmp_path / "whole").mkdir()
    write_streams(tmp_path / "whole", stored, streams, bits_stored=depth, syntax=JPEGLosslessSV1)
    assert_all_right(read_folder(tmp_path / "whole"), [(stored, AFFINE)])
    streams[1] = hole(streams[1])
    (tmp_path / "cut").mkdir()
    write_streams(tmp_path / "cut", stored, streams, bits_stored=depth, syntax=JPEGLosslessSV1)
    assert_refused(read_folder(tmp_path / "cut"), Code.TRUNCATED, Code.CORRUPT)


def test_lossless_jpeg_with_a_hole_before_a_restart(tmp_path: Path) -> None:
    """All that follows the restart is right."""
    stored = make_voxels(TALL, high=4096)
    streams = [jpeg_lossless.encode(stored[:, :, k].T, 12, 5) for k in range(TALL[2])]
    at = streams[1].index(b"\xff\xd0")
    streams[1] = streams[1][: at - 40] + streams[1][at:]
    write_streams(tmp_path, stored, streams, bits_stored=12, syntax=JPEGLosslessSV1)
    assert_refused(read_folder(tmp_path), Code.TRUNCATED)


@pytest.mark.parametrize(
    ("first", "last", "code"), [(1, 2, Code.CORRUPT), (0, 8, Code.TRUNCATED), (4, 11, Code.TRUNCATED)]
)
def test_lossless_jpeg_without_some_of_its_segments(tmp_path: Path, first: int, last: int, code: Code) -> None:
    """All data that are there are whole: between others, as many as restarts are counted by, and those at the end."""
    stored = make_voxels(TALL, high=4096)
    streams = [jpeg_lossless.encode(stored[:, :, k].T, 12, 3) for k in range(TALL[2])]
    places = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7\xd9]", streams[1])]
    streams[1] = streams[1][: places[first]] + streams[1][places[last] :]
    write_streams(tmp_path, stored, streams, bits_stored=12, syntax=JPEGLosslessSV1)
    assert_refused(read_folder(tmp_path), code)


def test_bytes_that_fill_up_before_a_marker(tmp_path: Path) -> None:
    """Any number of FF may stand there (ITU-T T.81 B.1.1.2)."""
    stored = make_voxels(TALL, high=4096)
    whole = [jpeg_lossless.encode(stored[:, :, k].T, 12, 5) for k in range(TALL[2])]
    streams = [re.sub(rb"\xff([\xd0-\xd7\xd9])", lambda found: b"\xff\xff" + found[0], stream) for stream in whole]
    write_streams(tmp_path, stored, streams, bits_stored=12, syntax=JPEGLosslessSV1)
    assert_all_right(read_folder(tmp_path), [(stored, AFFINE)])


def test_lossless_jpeg_in_colour_with_a_hole(tmp_path: Path) -> None:
    cells = make_voxels((40, 32, 3), high=256, dtype=np.uint8)
    form = {"lossless": True, "predictor": 1, "colorspace": "RGB", "outcolorspace": "RGB"}
    stream = bytes(imagecodecs.jpeg8_encode(cells, **form))
    for name, one in {"whole": stream, "cut": HOLES["the second half"](stream)}.items():
        (tmp_path / name).mkdir()
        write_encapsulated(tmp_path / name / "a.dcm", cells.swapaxes(0, 1), one, JPEGLosslessSV1, "RGB")
    voxels = read_folder(tmp_path / "whole").volume.voxels
    np.testing.assert_array_equal(voxels[..., 0].transpose(2, 1, 0), cells)
    assert_refused(read_folder(tmp_path / "cut"), Code.TRUNCATED)


@pytest.mark.parametrize("hole", [HOLES["the second half"], HOLES["the last bytes"]])
@pytest.mark.parametrize(
    ("syntax", "photometric", "restart"),
    [
        pytest.param(JPEGBaseline8Bit, "MONOCHROME2", 0, id="grey"),
        pytest.param(JPEGBaseline8Bit, "MONOCHROME2", 3, id="grey with restarts"),
        pytest.param(JPEGBaseline8Bit, "YBR_FULL_422", 0, id="colour"),
        pytest.param(JPEGExtended12Bit, "MONOCHROME2", 0, id="12 bit"),
    ],
)
def test_lossy_jpeg_with_a_hole(
    tmp_path: Path, syntax: UID, photometric: str, restart: int, hole: Callable[[bytes], bytes]
) -> None:
    """Pillow fills up with grey too, where the last marker is there."""
    is_colour = photometric != "MONOCHROME2"
    deep = syntax == JPEGExtended12Bit
    shape = (40, 32, 3) if is_colour else (40, 32)
    cells = np.random.default_rng(0).integers(0, 4096 if deep else 256, shape).astype(np.uint16 if deep else np.uint8)
    if deep:
        stream = bytes(imagecodecs.jpeg_encode(cells, bitspersample=12))
    else:
        encoded = BytesIO()
        Image.fromarray(cells).save(encoded, "JPEG", restart_marker_blocks=restart)
        stream = encoded.getvalue()
    for name, one in {"whole": stream, "cut": hole(stream)}.items():
        (tmp_path / name).mkdir()
        write_encapsulated(tmp_path / name / "a.dcm", cells.swapaxes(0, 1), one, syntax, photometric)
    assert len(read_folder(tmp_path / "whole").volumes) == 1
    assert_refused(read_folder(tmp_path / "cut"), Code.TRUNCATED)


def test_lossless_jpeg_of_another_size(tmp_path: Path) -> None:
    stored = make_voxels(SHAPE)
    streams = [jpeg_lossless.encode(stored[:, :, k], 16) for k in range(SHAPE[2])]
    write_streams(tmp_path, stored, streams, syntax=JPEGLosslessSV1)
    assert_refused(read_folder(tmp_path), Code.BAD_PIXELS)


def test_jpeg_ls_of_another_size(tmp_path: Path) -> None:
    turned = make_voxels((35, 33, 1))
    (path,) = write_series(tmp_path, turned, transfer_syntax=JPEGLSLossless)
    dataset = dcmread(path)
    dataset.Rows, dataset.Columns = dataset.Columns, dataset.Rows
    dataset.save_as(path)
    assert_refused(read_folder(tmp_path), Code.BAD_PIXELS)


def test_baseline_jpeg_of_another_size(tmp_path: Path) -> None:
    stream = BytesIO()
    Image.fromarray(np.zeros((40, 32), np.uint8)).save(stream, "JPEG")
    native = np.zeros((40, 32), np.uint8)
    write_encapsulated(tmp_path / "a.dcm", native, stream.getvalue(), JPEGBaseline8Bit, "MONOCHROME2")
    assert_refused(read_folder(tmp_path), Code.BAD_PIXELS)


def test_a_transfer_syntax_that_nobody_reads(tmp_path: Path) -> None:
    write_encapsulated(
        tmp_path / "a.dcm", make_voxels((8, 8, 1))[:, :, 0], bytes(64), UID("1.2.840.10008.1.2.4.103"), "MONOCHROME2"
    )
    assert_refused(read_folder(tmp_path), Code.NO_CODEC, Code.NOT_SUPPORTED)
