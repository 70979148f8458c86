"""Rescaling is bit for bit what float64 gives, whichever way is taken; the order of voxels in memory is nobody's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantoms.dicom_series import make_voxels, write_series
from phantoms.readings import read_folder

from pipeline.cohort.digests import voxels_digest
from pipeline.domain.codes import Code
from pipeline.domain.geometry import Geometry, Unit
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.pixels import MOVED_EXACTLY, linear
from pipeline.readers.single_file import constant_note


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
@pytest.mark.parametrize("slope", [1.0, -1.0, 2.0, 0.1, 1.0000001, 3.7e-5])
@pytest.mark.parametrize(
    "intercept", [0.0, -0.0, -1024.0, 0.3, MOVED_EXACTLY - 1.0, 1.0 - MOVED_EXACTLY, 2.0**24, 2.0**31 + 1, -1e9]
)
def test_rescaling_equals_the_float64_formula(dtype: Any, slope: float, intercept: float) -> None:
    ends = np.iinfo(dtype)
    stored = np.random.default_rng(3).integers(ends.min, ends.max, (37, 41), dtype=dtype, endpoint=True)
    stored.reshape(-1)[:3] = ends.min, ends.max, 0
    expected = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    found = linear(stored, slope, intercept)
    assert found.dtype == np.float32
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("slope", "intercept"), [(1e38, 0.0), (1.0, 3.5e38), (-1e38, 0.0)])
def test_rescaled_values_beyond_float32(slope: float, intercept: float) -> None:
    with pytest.raises(RejectedInput) as caught:
        linear(np.array([[0, 5]], np.uint8), slope, intercept)
    assert caught.value.code == Code.NOT_FINITE


def test_a_large_slope_whose_values_fit_is_no_fault() -> None:
    assert linear(np.array([[0, 1]], np.uint16), 1e35, 0.0).tolist() == [[0.0, float(np.float32(1e35))]]


def test_the_digest_of_voxels_does_not_depend_on_their_order_in_memory() -> None:
    geometry = Geometry.from_matrix((3, 4, 5), np.eye(4), Unit.MM)
    voxels = np.random.default_rng(0).random((2, 3, 4, 5), dtype=np.float32)
    turned = np.ascontiguousarray(voxels.transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)
    assert voxels_digest(Volume(voxels, geometry, "CT")) == voxels_digest(Volume(turned, geometry, "CT"))
    other = voxels.copy()
    other[1, 2, 3, 4] += 1
    assert voxels_digest(Volume(other, geometry, "CT")) != voxels_digest(Volume(voxels, geometry, "CT"))


def test_a_volume_is_filled_without_a_second_copy(tmp_path: Path) -> None:
    write_series(tmp_path, make_voxels((6, 5, 4)))
    volume = read_folder(tmp_path).volume
    slices = volume.voxels[0].transpose(2, 1, 0)
    assert slices.flags.c_contiguous


def test_only_a_volume_of_one_value_is_constant() -> None:
    voxels = np.full((1, 3, 4, 5), 7, np.float32)
    assert constant_note(voxels) == ("CONSTANT: every voxel is 7",)
    voxels[0, 2, 3, 4] = 8
    assert constant_note(voxels) == ()
    voxels[0, 0, 0, 0] = 8
    assert constant_note(voxels) == ()
