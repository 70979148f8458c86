"""Colour in DICOM: three channels of RGB, whatever the photometric interpretation and transfer syntax."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import openjpeg.utils
import pytest
from numpy.typing import NDArray
from phantoms.dicom_objects import write_encapsulated, write_radiograph
from phantoms.dicom_series import (
    make_voxels,
)
from phantoms.readings import assert_refused, read_folder
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.domain.codes import Code

SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
]
Voxels = NDArray[Any]


def write_colour(path: Path, rgb: Voxels, edit: Callable[[Dataset], None] | None = None, **changes: Any) -> Path:
    """An ultrasound still; `rgb` is (i, j, 3)."""
    return write_radiograph(path, rgb, modality="US", spacing=None, **({"photometric": "RGB"} | changes), edit=edit)


def smooth_rgb() -> Voxels:
    """Colours that subsampling and lossy compression leave nearly alone, (64, 48, 3)."""
    i, j = np.meshgrid(np.linspace(0, 1, 64), np.linspace(0, 1, 48), indexing="ij")
    return np.stack([40 + 170 * i, 60 + 130 * j, 210 - 150 * i * j], axis=-1).round().astype(np.uint8)


def to_ybr(rgb: Voxels) -> Voxels:
    """PS3.3 C.7.6.3.1.2, YBR_FULL."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return np.clip(np.round(rgb @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)


def assert_colour(root: Path, rgb: Voxels, tolerance: float, *codes: Code) -> None:
    """Right within `tolerance` levels of 255, or refused with one of `codes` (none: right)."""
    reading = read_folder(root)
    if codes and not reading.volumes:
        assert_refused(reading, *codes)
        return
    volume = reading.volume
    assert volume.voxels.shape == (3, *rgb.shape[:2], 1)
    difference = np.abs(np.moveaxis(volume.voxels[:, :, :, 0], 0, -1) - rgb.astype(np.float64))
    assert difference.max() <= tolerance, difference.max()


@pytest.mark.parametrize("syntax", SYNTAXES[:6], ids=lambda syntax: syntax.keyword)
def test_rgb(tmp_path: Path, syntax: UID) -> None:
    rgb = smooth_rgb()
    write_colour(tmp_path / "a.dcm", rgb, transfer_syntax=syntax)
    assert_colour(tmp_path, rgb, 0)


def test_rgb_by_plane(tmp_path: Path) -> None:
    rgb = make_voxels((6, 5, 3), high=256, dtype=np.uint8)

    def planes(dataset: Dataset) -> None:
        dataset.PlanarConfiguration = 1
        dataset.PixelData = np.ascontiguousarray(rgb.transpose(2, 1, 0)).tobytes()

    write_colour(tmp_path / "a.dcm", rgb, planes)
    assert_colour(tmp_path, rgb, 0)


def test_ybr_full(tmp_path: Path) -> None:
    rgb = smooth_rgb()
    write_colour(tmp_path / "a.dcm", to_ybr(rgb), photometric="YBR_FULL")
    assert_colour(tmp_path, rgb, 2, Code.NOT_SUPPORTED)


def test_ybr_full_422(tmp_path: Path) -> None:
    """Two pixels as Y1 Y2 Cb Cr."""
    rgb = np.repeat(smooth_rgb()[::2], 2, axis=0)
    ybr = to_ybr(rgb).transpose(1, 0, 2).reshape(48, 32, 2, 3)
    content = np.stack([ybr[:, :, 0, 0], ybr[:, :, 1, 0], ybr[:, :, 0, 1], ybr[:, :, 0, 2]], axis=-1)

    def subsampled(dataset: Dataset) -> None:
        dataset.PixelData = content.tobytes()

    write_colour(tmp_path / "a.dcm", to_ybr(rgb), subsampled, photometric="YBR_FULL_422")
    assert_colour(tmp_path, rgb, 2, Code.NOT_SUPPORTED)


@pytest.mark.parametrize(("photometric", "subsampling"), [("YBR_FULL", 0), ("YBR_FULL_422", 1)])
def test_jpeg_baseline_colour(tmp_path: Path, photometric: str, subsampling: int) -> None:
    rgb = smooth_rgb()
    stream = BytesIO()
    Image.fromarray(rgb.transpose(1, 0, 2)).save(stream, "JPEG", quality=98, subsampling=subsampling)
    write_encapsulated(tmp_path / "a.dcm", rgb, stream.getvalue(), JPEGBaseline8Bit, photometric)
    assert_colour(tmp_path, rgb, 8, Code.NOT_SUPPORTED)


def test_jpeg_baseline_grey(tmp_path: Path) -> None:
    grey = smooth_rgb()[:, :, 0]
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(grey.T)).save(stream, "JPEG", quality=98)
    write_encapsulated(tmp_path / "a.dcm", grey, stream.getvalue(), JPEGBaseline8Bit, "MONOCHROME2")
    volume = read_folder(tmp_path).volume
    stream.seek(0)
    np.testing.assert_array_equal(volume.voxels[0, :, :, 0], np.asarray(Image.open(stream)).T)
    assert np.abs(volume.voxels[0, :, :, 0] - grey).max() <= 4


@pytest.mark.parametrize(("photometric", "transform"), [("YBR_RCT", True), ("RGB", False)])
def test_jpeg_2000_colour(tmp_path: Path, photometric: str, transform: bool) -> None:
    rgb = make_voxels((64, 48, 3), high=256, dtype=np.uint8)
    rows = np.ascontiguousarray(rgb.transpose(1, 0, 2))
    stream = openjpeg.utils.encode_array(rows, bits_stored=8, photometric_interpretation=1, use_mct=transform)
    write_encapsulated(tmp_path / "a.dcm", rgb, bytes(stream), JPEG2000Lossless, photometric)
    assert_colour(tmp_path, rgb, 0, Code.NOT_SUPPORTED)


@pytest.mark.parametrize(("photometric", "transform"), [("YBR_RCT", True), ("RGB", False)])
def test_high_throughput_jpeg_2000_colour(tmp_path: Path, photometric: str, transform: bool) -> None:
    rgb = make_voxels((64, 48, 3), high=256, dtype=np.uint8)
    rows = np.ascontiguousarray(rgb.transpose(1, 0, 2))
    stream = imagecodecs.htj2k_encode(rows, reversible=True, rgb=transform)
    write_encapsulated(tmp_path / "a.dcm", rgb, bytes(stream), HTJ2KLossless, photometric)
    assert_colour(tmp_path, rgb, 0)


def jpeg_2000(rgb: Voxels, *, transform: bool) -> bytes:
    rows = np.ascontiguousarray(rgb.transpose(1, 0, 2))
    return bytes(imagecodecs.jpeg2k_encode(rows, reversible=True, level=0, mct=transform, codecformat="j2k"))


@pytest.mark.parametrize("photometric", ["YBR_RCT", "YBR_ICT", "RGB"])
def test_jpeg_2000_that_carries_its_transform_is_rgb(tmp_path: Path, photometric: str) -> None:
    """RGB over a transform is what many writers leave; decoders undo the transform whatever the label says."""
    rgb = make_voxels((64, 48, 3), high=256, dtype=np.uint8)
    write_encapsulated(tmp_path / "a.dcm", rgb, jpeg_2000(rgb, transform=True), JPEG2000Lossless, photometric)
    assert_colour(tmp_path, rgb, 0)


def test_jpeg_2000_in_ybr_full_carries_no_transform(tmp_path: Path) -> None:
    rgb = smooth_rgb()
    write_encapsulated(tmp_path / "a.dcm", rgb, jpeg_2000(to_ybr(rgb), transform=False), JPEG2000Lossless, "YBR_FULL")
    assert_colour(tmp_path, rgb, 2)


@pytest.mark.parametrize(
    ("photometric", "transform"),
    [
        ("YBR_FULL", True),
        ("YBR_FULL_422", True),
        ("YBR_FULL_422", False),
        ("YBR_RCT", False),
        ("YBR_ICT", False),
    ],
)
@pytest.mark.parametrize("turn", [lambda rgb: rgb, to_ybr], ids=["holds RGB", "holds YBR"])
def test_jpeg_2000_under_a_label_that_its_transform_excludes(
    tmp_path: Path, photometric: str, transform: bool, turn: Callable[[Voxels], Voxels]
) -> None:
    """PS3.5 8.2.4: archives that transcode leave the label of before, over either kind of colours."""
    rgb = smooth_rgb()
    stream = jpeg_2000(turn(rgb), transform=transform)
    write_encapsulated(tmp_path / "a.dcm", rgb, stream, JPEG2000Lossless, photometric)
    reading = read_folder(tmp_path)
    assert_refused(reading, Code.BAD_PIXELS)
    assert photometric in reading.messages[0]


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_RCT"])
def test_jpeg_ls_under_a_label_that_it_cannot_have(tmp_path: Path, photometric: str) -> None:
    """Its samples are all there, and it knows no transform."""
    rgb = smooth_rgb()
    stream = imagecodecs.jpegls_encode(np.ascontiguousarray(rgb.transpose(1, 0, 2)))
    write_encapsulated(tmp_path / "a.dcm", rgb, bytes(stream), JPEGLSLossless, photometric)
    assert_refused(read_folder(tmp_path), Code.BAD_PIXELS)


@pytest.mark.parametrize(("photometric", "turn"), [("RGB", lambda rgb: rgb), ("YBR_FULL", to_ybr)])
def test_jpeg_ls_colour(tmp_path: Path, photometric: str, turn: Callable[[Voxels], Voxels]) -> None:
    rgb = smooth_rgb()
    stream = imagecodecs.jpegls_encode(np.ascontiguousarray(turn(rgb).transpose(1, 0, 2)))
    write_encapsulated(tmp_path / "a.dcm", rgb, bytes(stream), JPEGLSLossless, photometric)
    assert_colour(tmp_path, rgb, 0 if photometric == "RGB" else 2)
