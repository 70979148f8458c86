"""DICOM images of two dimensions: radiographs, mammograms, ultrasound stills; how they are spaced."""

from pathlib import Path

import numpy as np
import pytest
from phantoms.dicom_objects import ultrasound_region, write_radiograph
from phantoms.dicom_series import (
    make_voxels,
    set_text,
)
from phantoms.readings import assert_refused, read_folder
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Unit


@pytest.mark.parametrize("modality", ["DX", "CR", "MG"])
@pytest.mark.parametrize("tag", ["PixelSpacing", "ImagerPixelSpacing"])
def test_a_radiograph_is_spaced_by_what_its_header_says(tmp_path: Path, modality: str, tag: str) -> None:
    image = make_voxels((6, 5, 1))
    write_radiograph(tmp_path / "image.dcm", image[:, :, 0], modality=modality, spacing=(0.2, 0.1), spacing_tag=tag)
    reading = read_folder(tmp_path)
    volume = reading.volume
    np.testing.assert_array_equal(volume.voxels[0], image)
    assert volume.geometry.unit is Unit.MM
    np.testing.assert_allclose(volume.geometry.spacing[:2], (0.2, 0.1), atol=1e-9)
    assert bool(volume.notes) == (tag == "ImagerPixelSpacing"), volume.notes
    attributes = reading.volumes[0][0].attributes
    assert attributes["laterality"] == "L"
    assert attributes["view"] == "PA"


def test_calibrated_spacing_goes_before_detector_spacing(tmp_path: Path) -> None:
    def calibrated(dataset: Dataset) -> None:
        dataset.PixelSpacing = ["0.08", "0.16"]

    write_radiograph(tmp_path / "image.dcm", make_voxels((6, 5, 1))[:, :, 0], spacing=(0.2, 0.1), edit=calibrated)
    np.testing.assert_allclose(read_folder(tmp_path).volume.geometry.spacing[:2], (0.16, 0.08), atol=1e-9)


@pytest.mark.parametrize("modality", ["DX", "US"])
def test_a_picture_without_scale_is_measured_in_pixels(tmp_path: Path, modality: str) -> None:
    image = make_voxels((6, 5, 1))
    write_radiograph(tmp_path / "image.dcm", image[:, :, 0], modality=modality, spacing=None)
    volume = read_folder(tmp_path).volume
    np.testing.assert_array_equal(volume.voxels[0], image)
    assert volume.geometry.unit is Unit.PIXEL
    assert volume.geometry.spacing == (1, 1, 1)


def test_ultrasound_is_spaced_by_its_region(tmp_path: Path) -> None:
    """Deltas are centimetres a pixel: 0.05 cm are 0.5 mm."""

    def region(dataset: Dataset) -> None:
        dataset.SequenceOfUltrasoundRegions = ultrasound_region(0.05, 0.04)

    image = make_voxels((6, 5, 1), high=255, dtype=np.uint8)
    write_radiograph(tmp_path / "image.dcm", image[:, :, 0], modality="US", spacing=None, edit=region)
    volume = read_folder(tmp_path).volume
    np.testing.assert_array_equal(volume.voxels[0], image)
    assert volume.geometry.unit is Unit.MM
    np.testing.assert_allclose(volume.geometry.spacing[:2], (0.5, 0.4), atol=1e-9)


@pytest.mark.parametrize(
    ("said", "notes"),
    [
        (["1", "1"], ("spacing is that of the ultrasound region: PixelSpacing is 1\\1 mm, the region 0.4\\0.5 mm",)),
        (
            ["0.5", "0.4"],
            ("spacing is that of the ultrasound region: PixelSpacing is 0.5\\0.4 mm, the region 0.4\\0.5 mm",),
        ),
        (["0.4001", "0.5001"], ()),
    ],
)
def test_the_region_of_ultrasound_goes_before_a_pixel_spacing(
    tmp_path: Path, said: list[str], notes: tuple[str, ...]
) -> None:
    """Exports put 1 mm there; the standard has no PixelSpacing in ultrasound images, but the region."""

    def both(dataset: Dataset) -> None:
        dataset.SequenceOfUltrasoundRegions = ultrasound_region(0.05, 0.04)
        dataset.PixelSpacing = said

    image = make_voxels((6, 5, 1), high=255, dtype=np.uint8)
    write_radiograph(tmp_path / "image.dcm", image[:, :, 0], modality="US", spacing=None, edit=both)
    volume = read_folder(tmp_path).volume
    np.testing.assert_allclose(volume.geometry.spacing[:2], (0.5, 0.4), atol=2e-4)
    assert volume.notes == notes


def test_views_of_one_mammography_series_are_images_of_their_own(tmp_path: Path) -> None:
    images = []
    for number, (side, view) in enumerate([("L", "CC"), ("R", "CC"), ("L", "MLO"), ("R", "MLO")]):
        images.append(make_voxels((6, 5, 1), seed=number))
        write_radiograph(
            tmp_path / f"{number}.dcm",
            images[-1][:, :, 0],
            modality="MG",
            laterality=side,
            view=view,
            instance=str(number),
        )
    reading = read_folder(tmp_path)
    assert len(reading.volumes) == 4
    found = {(s.attributes["laterality"], s.attributes["view"]): v.voxels[0] for s, v in reading.volumes}
    for key, image in zip([("L", "CC"), ("R", "CC"), ("L", "MLO"), ("R", "MLO")], images, strict=True):
        np.testing.assert_array_equal(found[key], image)


@pytest.mark.parametrize("text", ["0,2\\0,1", "0\\0", "nan\\1"])
def test_a_radiograph_with_a_spacing_that_is_none(tmp_path: Path, text: str) -> None:
    def spoil(dataset: Dataset) -> None:
        set_text(dataset, 0x00181164, "DS", text)

    write_radiograph(tmp_path / "image.dcm", make_voxels((6, 5, 1))[:, :, 0], edit=spoil)
    assert_refused(read_folder(tmp_path), Code.BAD_VALUE)
