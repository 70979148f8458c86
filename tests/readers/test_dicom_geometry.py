"""Where the voxels of a DICOM series lie: order, orientation, position, spacing; and what is no volume."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantoms.dicom_series import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Edit,
    Orientation,
    Vector,
    decimals,
    expected_affine,
    make_voxels,
    set_text,
    without,
    write_series,
)
from phantoms.readings import assert_refused, assert_right, read_folder
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Plane, Unit

SHAPE = (6, 5, 7)
POSITION: Vector = (-31.25, 12.5, -80.75)
SPACING: Vector = (0.75, 1.25, 2.5)
AFFINE = expected_affine(AXIAL, POSITION, SPACING)
TURN = np.radians(25), np.radians(-14)
OBLIQUE: Orientation = (
    (float(np.cos(TURN[0])), float(np.sin(TURN[0])), 0.0),
    (
        float(-np.sin(TURN[0]) * np.cos(TURN[1])),
        float(np.cos(TURN[0]) * np.cos(TURN[1])),
        float(np.sin(TURN[1])),
    ),
)


ORIENTATION_TAG, POSITION_TAG, SPACING_TAG = 0x00200037, 0x00200032, 0x00280030


def write(folder: Path, voxels: np.ndarray[Any, Any] | None = None, **changes: Any) -> list[Path]:
    settings = {"position": POSITION, "spacing": SPACING} | changes
    return write_series(folder, make_voxels(SHAPE) if voxels is None else voxels, **settings)


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param([5, 2, 7, 1, 6, 3, 4], id="shuffled"),
        pytest.param([7, 6, 5, 4, 3, 2, 1], id="reversed"),
        pytest.param([None] * 7, id="absent"),
        pytest.param([1, 2, None, 4, 5, 6, 7], id="absent on one"),
        pytest.param([1, 1, 1, 1, 1, 1, 1], id="all equal"),
    ],
)
def test_slices_are_sorted_by_position_not_by_instance_number(tmp_path: Path, numbers: list[int | None]) -> None:
    write(tmp_path, instance_numbers=numbers)
    assert_right(read_folder(tmp_path).volume, (make_voxels(SHAPE), AFFINE))


def rubbish_times(dataset: Dataset, k: int) -> None:
    dataset.AcquisitionNumber = 9 - k
    dataset.TriggerTime = decimals([100.0 * ((k * 3) % 7)])[0]
    dataset.AcquisitionTime = f"1010{(k * 5) % 7:02d}.5"
    dataset.ContentTime = f"1011{(k * 2) % 7:02d}"


def rubbish_locations(dataset: Dataset, k: int) -> None:
    dataset.SliceLocation = decimals([float((k * 3) % 7)])[0]
    dataset.SliceThickness = "9.0"
    dataset.SpacingBetweenSlices = "11.0"
    dataset.WindowCenter, dataset.WindowWidth = str(40 + k), "300"


@pytest.mark.parametrize("edit", [rubbish_times, rubbish_locations])
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_tags_that_say_nothing_about_position_neither_split_nor_move(tmp_path: Path, edit: Edit, modality: str) -> None:
    """One acquisition number, trigger time or window a slice is everyday CT and MR."""
    write(tmp_path, edit=edit, modality=modality)
    assert_right(read_folder(tmp_path).volume, (make_voxels(SHAPE), AFFINE))


# orientation


@pytest.mark.parametrize(
    ("orientation", "plane"),
    [
        pytest.param(AXIAL, Plane.AXIAL, id="axial"),
        pytest.param(SAGITTAL, Plane.SAGITTAL, id="sagittal"),
        pytest.param(((0, -1, 0), (0, 0, -1)), Plane.SAGITTAL, id="sagittal from the other side"),
        pytest.param(CORONAL, Plane.CORONAL, id="coronal"),
        pytest.param(OBLIQUE, Plane.AXIAL, id="oblique"),
        pytest.param(((-1, 0, 0), (0, 1, 0)), Plane.AXIAL, id="feet first supine"),
        pytest.param(((-1, 0, 0), (0, -1, 0)), Plane.AXIAL, id="head first prone"),
        pytest.param(((1, 0, 0), (0, -1, 0)), Plane.AXIAL, id="feet first prone"),
        pytest.param(((0, -1, 0), (1, 0, 0)), Plane.AXIAL, id="decubitus right"),
        pytest.param(((0, 1, 0), (-1, 0, 0)), Plane.AXIAL, id="decubitus left"),
    ],
)
def test_every_orientation(tmp_path: Path, orientation: Orientation, plane: Plane) -> None:
    write(tmp_path, orientation=orientation, instance_numbers=[3, 1, 2, 7, 6, 5, 4])
    volume = read_folder(tmp_path).volume
    assert_right(volume, (make_voxels(SHAPE), expected_affine(orientation, POSITION, SPACING)))
    assert volume.geometry.plane is plane
    assert volume.geometry.unit is Unit.MM


@pytest.mark.parametrize("where", ["HFS", "FFS", "HFP", "FFDL", "HFDR"])
def test_patient_position_does_not_turn_what_the_orientation_says(tmp_path: Path, where: str) -> None:
    def lie(dataset: Dataset, k: int) -> None:
        dataset.PatientPosition = where

    write(tmp_path, edit=lie)
    assert_right(read_folder(tmp_path).volume, (make_voxels(SHAPE), AFFINE))


def test_a_landmark_lands_where_it_was_put(tmp_path: Path) -> None:
    """By hand, with numbers: LPS (-31.25 + 2 * 0.75, 12.5 + 3 * 1.25, -80.75 + 4 * 2.5)."""
    voxels = np.zeros(SHAPE, np.uint16)
    voxels[2, 3, 4] = 1000
    write(tmp_path, voxels)
    volume = read_folder(tmp_path).volume
    index = np.unravel_index(np.argmax(volume.voxels[0]), SHAPE)
    assert tuple(int(axis) for axis in index) == (2, 3, 4)
    np.testing.assert_allclose(volume.geometry.matrix @ [*index, 1], [29.75, -16.25, -70.75, 1], atol=1e-5)


def test_orientation_jitter_and_long_decimals(tmp_path: Path) -> None:
    random = np.random.default_rng(3)

    def jitter(dataset: Dataset, k: int) -> None:
        row, column = np.array(OBLIQUE)
        values = np.concatenate([row, column]) + random.uniform(-2e-6, 2e-6, 6)
        set_text(dataset, ORIENTATION_TAG, "DS", "\\".join(f"{value:.18f}" for value in values))

    write(tmp_path, orientation=OBLIQUE, edit=jitter)
    truth = make_voxels(SHAPE), expected_affine(OBLIQUE, POSITION, SPACING)
    assert_right(read_folder(tmp_path).volume, truth, millimetres=1e-3)


def test_positions_rounded_by_the_scanner(tmp_path: Path) -> None:
    """A slice every 2/3 mm, written with three decimals: distances of 0.666 and 0.667 mm are one spacing."""
    spacing = (0.75, 1.25, 2 / 3)

    def rounded(dataset: Dataset, k: int) -> None:
        dataset.ImagePositionPatient = [f"{value:.3f}" for value in dataset.ImagePositionPatient]

    write(tmp_path, spacing=spacing, edit=rounded)
    truth = make_voxels(SHAPE), expected_affine(AXIAL, POSITION, spacing)
    assert_right(read_folder(tmp_path).volume, truth, millimetres=1e-3)


NAN, HALF = "nan", "0.70710678"


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        pytest.param(ORIENTATION_TAG, f"{NAN}\\0\\0\\0\\1\\0", id="NaN orientation"),
        pytest.param(ORIENTATION_TAG, "inf\\0\\0\\0\\1\\0", id="infinite orientation"),
        pytest.param(ORIENTATION_TAG, "0\\0\\0\\0\\0\\0", id="zero orientation"),
        pytest.param(ORIENTATION_TAG, "1\\0\\0\\0\\0\\0", id="zero column direction"),
        pytest.param(ORIENTATION_TAG, f"1\\0\\0\\{HALF}\\{HALF}\\0", id="directions at 45 degrees"),
        pytest.param(ORIENTATION_TAG, "1\\0\\0\\1\\0\\0", id="parallel directions"),
        pytest.param(ORIENTATION_TAG, "2\\0\\0\\0\\2\\0", id="directions of length 2"),
        pytest.param(ORIENTATION_TAG, "1\\0\\0\\0\\1", id="five numbers"),
        pytest.param(ORIENTATION_TAG, "1,0\\0\\0\\0\\1,0\\0", id="commas in the orientation"),
        pytest.param(ORIENTATION_TAG, "L\\0\\0\\0\\1\\0", id="a letter"),
        pytest.param(POSITION_TAG, f"0\\0\\{NAN}", id="NaN position"),
        pytest.param(POSITION_TAG, "0\\inf\\0", id="infinite position"),
        pytest.param(POSITION_TAG, "0\\0", id="two coordinates"),
        pytest.param(SPACING_TAG, "0,75\\1,25", id="commas in the spacing"),
        pytest.param(SPACING_TAG, "0\\0", id="zero spacing"),
        pytest.param(SPACING_TAG, "-1\\1", id="negative spacing"),
        pytest.param(SPACING_TAG, f"{NAN}\\1", id="NaN spacing"),
        pytest.param(SPACING_TAG, "inf\\1", id="infinite spacing"),
        pytest.param(SPACING_TAG, "0.75", id="one spacing"),
        pytest.param(SPACING_TAG, "1e400\\1", id="overflowing spacing"),
    ],
)
@pytest.mark.parametrize("slices", [pytest.param(range(7), id="all"), pytest.param([3], id="one")])
def test_values_that_geometry_cannot_rest_on(tmp_path: Path, tag: int, text: str, slices: list[int]) -> None:
    def spoil(dataset: Dataset, k: int) -> None:
        if k in slices:
            set_text(dataset, tag, "DS", text)

    write(tmp_path, edit=spoil)
    reading = read_folder(tmp_path)
    assert_refused(reading, Code.BAD_VALUE, Code.GAP)  # GAP: what is left without the one slice
    assert Code.BAD_VALUE in reading.codes


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        pytest.param(without("ImagePositionPatient", "ImageOrientationPatient"), Code.NO_GEOMETRY, id="neither"),
        pytest.param(without("ImagePositionPatient"), Code.NO_GEOMETRY, id="no position"),
        pytest.param(without("ImageOrientationPatient"), Code.NO_GEOMETRY, id="no orientation"),
        pytest.param(without("ImagePositionPatient", slices=[6]), Code.NO_GEOMETRY, id="no position on the last"),
        pytest.param(without("PixelSpacing"), Code.NO_SPACING, id="no pixel spacing"),
        pytest.param(without("PixelSpacing", slices=[6]), Code.NO_SPACING, id="no pixel spacing on the last"),
    ],
)
def test_what_is_missing_is_not_made_up(tmp_path: Path, edit: Edit, code: Code) -> None:
    """Also where only the last slice lacks it: the rest would look like a whole volume."""
    write(tmp_path, edit=edit)
    reading = read_folder(tmp_path)
    assert_refused(reading, code, Code.MATRIX)
    assert code in reading.codes


def test_one_slice_is_an_image_where_it_lies(tmp_path: Path) -> None:
    voxels = make_voxels((6, 5, 1))
    write(tmp_path, voxels, orientation=OBLIQUE)
    volume = read_folder(tmp_path).volume
    expected = expected_affine(OBLIQUE, POSITION, SPACING)
    np.testing.assert_array_equal(volume.voxels[0], voxels)
    np.testing.assert_allclose(volume.geometry.matrix[:, [0, 1, 3]], expected[:, [0, 1, 3]], atol=1e-4)
    normal = volume.geometry.matrix[:3, 2] / np.linalg.norm(volume.geometry.matrix[:3, 2])
    np.testing.assert_allclose(normal, expected[:3, 2] / SPACING[2], atol=1e-6)


# gaps, tilt, spacing, matrix


@pytest.mark.parametrize("lost", [[3], [1], [5], [2, 3]])
def test_a_missing_slice_is_a_gap(tmp_path: Path, lost: list[int]) -> None:
    paths = write(tmp_path)
    for k in lost:
        paths[k].unlink()
    reading = read_folder(tmp_path)
    assert_refused(reading, Code.GAP)
    assert any(re.search(r"\d mm", message) for message in reading.messages), reading.messages


@pytest.mark.parametrize("degrees", [0.5, 5.0, 18.5, -12.0])
@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_a_tilted_gantry(tmp_path: Path, degrees: float, orientation: Orientation) -> None:
    shift = SPACING[2] * np.tan(np.radians(degrees)) * np.array(orientation[1])

    def tilt(dataset: Dataset, k: int) -> None:
        dataset.ImagePositionPatient = decimals(np.array(dataset.ImagePositionPatient, float) + k * shift)

    write(tmp_path, orientation=orientation, edit=tilt)
    assert_refused(read_folder(tmp_path), Code.TILT)


def test_one_slice_shifted_sideways_is_no_volume(tmp_path: Path) -> None:
    def shift(dataset: Dataset, k: int) -> None:
        if k == 3:
            position = np.add(dataset.ImagePositionPatient, (4.0, 0.0, 0.0))
            dataset.ImagePositionPatient = decimals(position)

    write(tmp_path, edit=shift)
    assert_refused(read_folder(tmp_path), Code.TILT, Code.MATRIX, Code.SPACING, Code.BAD_VALUE)


def moved(heights: list[float]) -> Edit:
    """An edit that puts slice k at a height along the normal."""

    def edit(dataset: Dataset, k: int) -> None:
        dataset.ImagePositionPatient = decimals([POSITION[0], POSITION[1], POSITION[2] + heights[k]])

    return edit


@pytest.mark.parametrize(
    "heights",
    [
        pytest.param([0, 2.5, 5, 9, 11.5, 14, 16.5], id="one odd"),
        pytest.param([0, 2, 4.1, 6.3, 8.6, 11, 13.5], id="growing"),
        pytest.param([0, 2.5, 5, 7.5, 12.0, 16.5, 21], id="two blocks"),
        pytest.param([0, 2.5, 5, 7.5, 8.5, 12.5, 15], id="one slice too high"),
    ],
)
def test_uneven_spacing(tmp_path: Path, heights: list[float]) -> None:
    write(tmp_path, edit=moved(heights))
    assert_refused(read_folder(tmp_path), Code.SPACING)


def test_two_blocks_of_whole_multiples(tmp_path: Path) -> None:
    write(tmp_path, edit=moved([0, 2.5, 5, 7.5, 12.5, 17.5, 22.5]))
    assert_refused(read_folder(tmp_path), Code.SPACING, Code.GAP)


def odd_spacing(dataset: Dataset, k: int) -> None:
    if k == 4:
        dataset.PixelSpacing = ["1.25", "0.8"]


def odd_angle(dataset: Dataset, k: int) -> None:
    if k == 4:
        c, s = np.cos(0.1), np.sin(0.1)
        dataset.ImageOrientationPatient = decimals([c, s, 0, -s, c, 0])


def test_one_slice_of_another_size(tmp_path: Path) -> None:
    paths = write(tmp_path)
    larger = write(tmp_path / "larger", make_voxels((8, 5, 7), seed=2))
    paths[4].unlink()
    for k in (0, 1, 2, 3, 5, 6):
        larger[k].unlink()
    assert_refused(read_folder(tmp_path), Code.MATRIX)


@pytest.mark.parametrize("edit", [odd_spacing, odd_angle])
def test_one_slice_of_another_grid(tmp_path: Path, edit: Edit) -> None:
    write(tmp_path, edit=edit)
    assert_refused(read_folder(tmp_path), Code.MATRIX)
