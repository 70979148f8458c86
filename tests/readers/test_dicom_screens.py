"""Pages saved at a console lie in nearly every CT study: they are counted and skipped; other captures stay images."""

from pathlib import Path

import numpy as np
import pytest
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import Identity, expected_affine, make_voxels, write_series
from phantoms.readings import assert_all_right, read_folder
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code

VOXELS = make_voxels((6, 5, 5))
PIXELS = make_voxels((6, 5, 1), high=255, dtype=np.uint8)[:, :, 0]


def write_capture(path: Path, modality: str, *image_type: str, frames: int = 1) -> None:
    """A secondary capture in a series of its own, in the study of the phantoms."""

    def edit(dataset: Dataset) -> None:
        dataset.Modality = modality
        dataset.ImageType = list(image_type)
        if frames > 1:
            dataset.NumberOfFrames = frames
            dataset.PixelData = dataset.PixelData * frames

    write_radiograph(path, PIXELS, modality="OT", spacing=None, identity=Identity().another_series(9), edit=edit)


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize(
    "image_type",
    [
        ("DERIVED", "SECONDARY", "SCREEN SAVE"),
        ("DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"),
        ("DERIVED", "SECONDARY", "DOSE_INFO"),
    ],
    ids=["screen", "patient protocol", "dose page"],
)
def test_a_page_of_a_console_is_skipped(tmp_path: Path, image_type: tuple[str, ...], frames: int) -> None:
    write_series(tmp_path, VOXELS)
    write_capture(tmp_path / "dose.dcm", "CT", *image_type, frames=frames)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(VOXELS, expected_affine())])
    assert [refusal.file.path.name for refusal in reading.refusals(Code.NOT_AN_IMAGE)] == ["dose.dcm"]
    assert not reading.volume.notes


@pytest.mark.parametrize(
    ("modality", "image_type"),
    [
        ("US", ("DERIVED", "SECONDARY", "SCREEN SAVE")),
        ("US", ("DERIVED", "SECONDARY")),
        ("DX", ("DERIVED", "SECONDARY")),
        ("CT", ("DERIVED", "SECONDARY", "OTHER")),
    ],
)
def test_a_capture_that_may_be_the_image_stays_one(tmp_path: Path, modality: str, image_type: tuple[str, ...]) -> None:
    write_capture(tmp_path / "capture.dcm", modality, *image_type)
    volume = read_folder(tmp_path).volume
    assert volume.modality == modality
    assert np.array_equal(volume.voxels[0, :, :, 0], PIXELS)
