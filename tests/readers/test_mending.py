"""What is mended on request: a field that is linear in space keeps its closed form, on a grid known beforehand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantoms.dicom_series import AXIAL, Edit, Orientation, Vector, decimals, expected_affine, write_series
from phantoms.niftis import nifti
from phantoms.readings import assert_refused, read_folder

from pipeline.domain.codes import Code
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.options import MendOptions, ReadOptions
from pipeline.readers.reading import read

SHAPE = (6, 5, 7)
POSITION: Vector = (-31.25, 12.5, -80.75)
SPACING: Vector = (0.75, 1.25, 2.5)
OBLIQUE: Orientation = ((0.8, 0.6, 0.0), (-0.36, 0.48, 0.8))
GRADIENT = np.array([3.0, -5.0, 4.0])
"""Stored units a millimetre, along R, A, S."""

TILT = ReadOptions(mend=MendOptions(tilt=True))
EVEN = ReadOptions(mend=MendOptions(spacing=True))
BOTH = ReadOptions(mend=MendOptions(tilt=True, spacing=True))


def field(matrix: np.ndarray[Any, Any], shape: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """The linear field at the voxels of a grid, above a constant that keeps it positive."""
    index = np.stack([*np.indices(shape), np.ones(shape)])
    return np.asarray(np.tensordot(GRADIENT, np.tensordot(matrix[:3], index, 1), 1) + 5000.0)


def write_slices(folder: Path, origins: list[np.ndarray[Any, Any]], orientation: Orientation = AXIAL) -> None:
    """Slices of the field at these positions (LPS), stored so finely that rounding is below 1e-3."""
    planes = []
    for origin in origins:
        one = (float(origin[0]), float(origin[1]), float(origin[2]))
        planes.append(field(expected_affine(orientation, one, SPACING), (*SHAPE[:2], 1))[:, :, 0])
    stored = np.rint(np.stack(planes, axis=2) * 1000).astype(np.uint32)
    write_series(folder, stored, orientation=orientation, spacing=SPACING, slope=0.001, edit=_placed(origins))


def _placed(origins: list[np.ndarray[Any, Any]]) -> Edit:
    def edit(dataset: Any, k: int) -> None:
        dataset.ImagePositionPatient = decimals(origins[k])

    return edit


def assert_field(volume: Volume, matrix: np.ndarray[Any, Any], shape: tuple[int, int, int]) -> None:
    """The grid is the one told, and each valid voxel holds the field where it lies."""
    np.testing.assert_allclose(volume.geometry.matrix, matrix, rtol=0, atol=1e-6)
    assert volume.geometry.shape == shape
    valid = np.ones(shape, dtype=bool) if volume.valid is None else volume.valid
    np.testing.assert_allclose(volume.voxels[0][valid], field(matrix, shape)[valid], rtol=0, atol=2e-3)
    assert volume.voxels[0].min() == volume.voxels[0][valid].min()


def lowered(orientation: Orientation, heights: list[float], tangent: float = 0.0) -> list[np.ndarray[Any, Any]]:
    """Positions at heights along the normal, moved along the columns by `tangent` a millimetre."""
    row, column = np.array(orientation)
    step = np.cross(row, column) + tangent * column
    return [np.array(POSITION) + height * step for height in heights]


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
@pytest.mark.parametrize("tangent", [0.25, -0.4])
def test_a_tilt_is_resampled_to_a_grid_that_holds_every_slice(
    tmp_path: Path, orientation: Orientation, tangent: float
) -> None:
    write_slices(tmp_path, lowered(orientation, [2.5 * k for k in range(7)], tangent), orientation)
    assert_refused(read_folder(tmp_path), Code.TILT)
    volume = read_folder(tmp_path, TILT).volume
    shift = tangent * 15.0 / 1.25  # in rows, over the volume
    low, high = min(0, int(np.floor(shift))), max(0, int(np.ceil(shift)))
    matrix = expected_affine(orientation, POSITION, SPACING)
    matrix[:3, 3] += matrix[:3, 1] * low
    assert_field(volume, matrix, (6, 5 + high - low, 7))
    covered = np.zeros(volume.geometry.shape, dtype=bool)
    for k in range(7):
        at = np.arange(covered.shape[1]) + low - shift * k / 6
        covered[:, (at > -1e-9) & (at < 4 + 1e-9), k] = True
    np.testing.assert_array_equal(volume.valid, covered)
    degrees = abs(np.degrees(np.arctan(tangent)))
    assert f"MENDED: a tilt of {degrees:.2f} degrees was resampled to a straight grid" in volume.notes


@pytest.mark.parametrize(
    ("heights", "code"),
    [
        pytest.param([0, 2.5, 5, 10, 12.5, 15, 17.5], Code.GAP, id="a slice missing"),
        pytest.param([0, 2, 4.1, 6.3, 8.6, 11, 13.5], Code.SPACING, id="growing"),
        pytest.param([0, 4, 6, 8, 12, 14, 16], Code.GAP, id="two missing"),
    ],
)
@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_uneven_slices_are_interpolated_to_the_smallest_distance(
    tmp_path: Path, heights: list[float], code: Code, orientation: Orientation
) -> None:
    write_slices(tmp_path, lowered(orientation, heights), orientation)
    assert_refused(read_folder(tmp_path), code)
    assert_refused(read_folder(tmp_path, TILT), code)
    volume = read_folder(tmp_path, EVEN).volume
    least = float(np.diff(heights).min())
    count = int(heights[-1] / least + 1e-6) + 1
    assert_field(volume, expected_affine(orientation, POSITION, (0.75, 1.25, least)), (6, 5, count))
    assert volume.valid is None
    assert any(note.startswith("MENDED: slices") for note in volume.notes)


def test_a_wide_gap_is_refused_all_the_same(tmp_path: Path) -> None:
    write_slices(tmp_path, lowered(AXIAL, [0, 2.5, 5, 7.5, 20, 22.5, 25]))
    reading = read_folder(tmp_path, EVEN)
    assert_refused(reading, Code.GAP)
    assert any("read.mend.largest_gap_mm" in message for message in reading.messages)
    wider = ReadOptions(mend=MendOptions(spacing=True, largest_gap_mm=12.5))
    assert_field(read_folder(tmp_path, wider).volume, expected_affine(AXIAL, POSITION, SPACING), (6, 5, 11))


def test_a_tilt_with_a_gap_needs_both(tmp_path: Path) -> None:
    write_slices(tmp_path, lowered(AXIAL, [0, 2.5, 5, 10, 12.5, 15, 17.5], 0.25))
    assert_refused(read_folder(tmp_path), Code.GAP, Code.TILT)
    assert_refused(read_folder(tmp_path, EVEN), Code.TILT)
    assert_refused(read_folder(tmp_path, TILT), Code.GAP)
    volume = read_folder(tmp_path, BOTH).volume
    assert_field(volume, expected_affine(AXIAL, POSITION, SPACING), (6, 9, 8))
    assert volume.valid is not None
    assert volume.valid[:, :, 3].any()


def test_a_verb_that_is_not_told_to_mend_refuses_and_says_why(tmp_path: Path) -> None:
    write_slices(tmp_path, lowered(AXIAL, [0, 2.5, 5, 10, 12.5]))
    ((series, _),) = read_folder(tmp_path, EVEN).volumes
    with pytest.raises(RejectedInput, match="1 slice missing") as refusal:
        read(series, ReadOptions())
    assert refusal.value.code == Code.CHANGED


def test_one_slice_shifted_sideways_is_not_mended(tmp_path: Path) -> None:
    origins = lowered(AXIAL, [0, 2.5, 5, 10, 12.5, 15, 17.5], 0.25)
    origins[2] = origins[2] + [4.0, 0.0, 0.0]
    write_slices(tmp_path, origins)
    assert_refused(read_folder(tmp_path, BOTH), Code.MATRIX)


def test_padding_stays_padding(tmp_path: Path) -> None:
    def pad(dataset: Any, k: int) -> None:
        dataset.ImagePositionPatient = decimals(origins[k])
        dataset.PixelPaddingValue = 7

    origins = lowered(AXIAL, [0, 2.5, 5, 10, 12.5])
    stored = np.full((6, 5, 5), 100, dtype=np.uint16)
    stored[2, 3, 2] = 7
    write_series(tmp_path, stored, spacing=SPACING, edit=pad)
    volume = read_folder(tmp_path, EVEN).volume
    assert volume.valid is not None
    assert [tuple(index) for index in np.argwhere(~volume.valid)] == [(2, 3, 2), (2, 3, 3)]
    assert (volume.voxels == 100).all()


def test_a_grid_that_grows_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    write_slices(tmp_path, lowered(AXIAL, [0, 0.1, 2.5, 5, 7.5]))
    tight = ReadOptions(max_bytes=6 * 5 * 20 * 4, mend=MendOptions(spacing=True))
    assert_refused(read_folder(tmp_path, tight), Code.TOO_LARGE)


@pytest.mark.parametrize(
    "axes",
    [
        pytest.param([[2, 0, 0.5], [0, 1.5, -1.0], [0, 0, 3]], id="slices shifted both ways"),
        pytest.param([[-2, 0.5, 0.25], [0, 1.5, -1.0], [0, 0, 3]], id="rows shifted, left handed"),
        pytest.param([[0, 0.5, 3], [2, 1, 0], [0, -1.5, 0.75]], id="axes permuted"),
    ],
)
def test_a_sheared_nifti_is_resampled(tmp_path: Path, axes: list[list[float]]) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = (30.0, 20.0, -10.0)
    stored = field(matrix, SHAPE).astype("f4")
    (tmp_path / "a.nii").write_bytes(nifti(stored, sform=matrix[:3].tolist(), bitpix=32))
    options = TILT.model_copy(update={"modality": "CT"})
    assert_refused(read_folder(tmp_path, ReadOptions(modality="CT")), Code.SHEAR)
    volume = read_folder(tmp_path, options).volume
    found = volume.geometry.matrix
    first, second = matrix[:3, 0], matrix[:3, 1]
    normal = np.cross(first, second)
    upright = [
        first,
        second - first * (first @ second) / (first @ first),
        normal * (normal @ matrix[:3, 2]) / (normal @ normal),
    ]
    np.testing.assert_allclose(found[:3, :3], np.array(upright).T, rtol=0, atol=1e-6)
    offset = np.linalg.solve(found[:3, :3], found[:3, 3] - matrix[:3, 3])
    np.testing.assert_allclose(offset, np.rint(offset), atol=1e-6)
    shape = volume.geometry.shape
    assert_field(volume, found, shape)
    back = np.linalg.inv(matrix) @ found
    at = np.tensordot(back[:3], np.stack([*np.indices(shape), np.ones(shape)]), 1)
    ends = np.array(SHAPE).reshape(3, 1, 1, 1) - 1
    inside = ((at > -1e-6) & (at < ends + 1e-6)).all(0)
    assert volume.valid is not None
    assert not (volume.valid & ~inside).any()
    interior = ((at > 1) & (at < ends - 1)).all(0)
    assert volume.valid[interior].all()
    assert "MENDED: a sheared affine was resampled to a straight grid" in volume.notes


def test_nothing_changes_where_nothing_is_to_be_mended(tmp_path: Path) -> None:
    write_slices(tmp_path, lowered(AXIAL, [2.5 * k for k in range(7)]))
    plain, asked = read_folder(tmp_path).volume, read_folder(tmp_path, BOTH).volume
    np.testing.assert_array_equal(asked.voxels, plain.voxels)
    assert (asked.geometry, asked.notes) == (plain.geometry, plain.notes)
