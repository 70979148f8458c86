"""What headers say beside positions: SliceLocation, the tilt of the gantry, the series; contradictions are told."""

from pathlib import Path

import pytest
from phantoms.dicom_series import AXIAL, Vector, decimals, expected_affine, make_voxels, slice_position, write_series
from phantoms.readings import assert_all_right, assert_refused, assert_right, read_folder
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code

SHAPE = (6, 5, 6)
POSITION: Vector = (-31.25, 12.5, -80.75)
SPACING: Vector = (0.75, 1.25, 5.0)
AFFINE = expected_affine(AXIAL, POSITION, SPACING)


@pytest.mark.parametrize(
    ("places", "is_refused"),
    [((0.0, 5.0, 10.0, 15.0, 20.0, 25.0), True), ((3.0,) * 6, False), ((3.0, 3.02, 3.0, 3.01, 3.0, 3.0), False)],
    ids=["other places", "one place", "rounded"],
)
def test_one_position_of_slices_that_lie_at_several_places(
    tmp_path: Path, places: tuple[float, ...], is_refused: bool
) -> None:
    """An export has written the first position into all: they are no six passes over one slice."""

    def edit(dataset: Dataset, k: int) -> None:
        dataset.ImagePositionPatient = decimals(slice_position(AXIAL, POSITION, SPACING, 0))
        dataset.SliceLocation = decimals([places[k]])[0]
        dataset.AcquisitionTime = f"10150{k}"

    voxels = make_voxels(SHAPE)
    write_series(tmp_path, voxels, position=POSITION, spacing=SPACING, edit=edit)
    reading = read_folder(tmp_path)
    if is_refused:
        assert_refused(reading, Code.BAD_VALUE)
        assert any("SliceLocation" in message for message in reading.messages)
    else:
        assert_all_right(reading, [(voxels[:, :, k : k + 1], AFFINE) for k in range(6)])
        assert not any(volume.notes for _, volume in reading.volumes)


@pytest.mark.parametrize("tilt", ["18.5", "-18.5", "0", "0.0", "", "999"])
def test_a_tilt_that_the_orientation_does_not_have_is_noted(tmp_path: Path, tilt: str) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        dataset.GantryDetectorTilt = tilt

    voxels = make_voxels(SHAPE)
    write_series(tmp_path, voxels, position=POSITION, spacing=SPACING, edit=edit)
    volume = read_folder(tmp_path).volume
    assert_right(volume, (voxels, AFFINE))
    assert [tilt in note for note in volume.notes] == [True] * tilt.endswith("18.5")


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_two_series_that_adjoin_under_one_uid_are_noted(tmp_path: Path, modality: str) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        dataset.SeriesNumber, dataset.SeriesDescription = 3 + k // 3, ("MUELLER arterial", "portal")[k // 3]

    voxels = make_voxels(SHAPE)
    write_series(tmp_path, voxels, position=POSITION, spacing=SPACING, modality=modality, edit=edit)
    volume = read_folder(tmp_path).volume
    assert_right(volume, (voxels, AFFINE))
    assert volume.notes == tuple(
        f"its slices differ in {key}: two series may have been merged into one"
        for key in ("SeriesNumber", "SeriesDescription")
    )
