"""Previews: a bright corner appears where a radiologist expects it; no picture where text may be burned in."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import write_series
from phantoms.evaluations import LESION, cohort
from PIL import Image
from pydicom.dataset import Dataset

from pipeline.cohort.describe import describe
from pipeline.cohort.previews import SIDE, PreviewSettings, chosen, preview
from pipeline.domain.case import Case, Split
from pipeline.domain.geometry import Geometry
from pipeline.domain.volume import Volume
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions

R, A, S = np.eye(3)
PLANES = {  # voxel axes of a slice, corner that is bright (world), where the screen shows it (top, left)
    "axial": ((R, A, S), {"right": True, "anterior": True}, (True, True)),
    "axial, as DICOM stores it": ((-R, -A, S), {"right": False, "anterior": True}, (True, False)),
    "axial, rows first": ((-A, R, S), {"right": True, "anterior": False}, (False, True)),
    "coronal": ((R, S, A), {"right": True, "superior": True}, (True, True)),
    "coronal, upside down": ((-R, S, -A), {"right": False, "superior": False}, (False, False)),
    "sagittal": ((A, -S, R), {"anterior": True, "superior": True}, (True, True)),
    "sagittal, turned": ((S, -A, R), {"anterior": False, "superior": True}, (True, False)),
}
NAMES = ("right", "anterior", "superior")


def pixels(content: bytes) -> NDArray[np.float64]:
    return np.asarray(Image.open(io.BytesIO(content)), dtype=np.float64)


def with_corner(axes: tuple[NDArray[np.float64], ...], corner: dict[str, bool], shape: tuple[int, int, int]) -> Volume:
    """A volume whose middle slice is bright in one corner of the patient."""
    affine = np.eye(4)
    affine[:3, :3] = np.stack(axes, axis=1)
    voxels = np.zeros((1, *shape), np.float32)
    place: list[slice] = []
    for axis, length in zip(axes[:2], shape[:2], strict=True):
        world = int(np.argmax(np.abs(axis)))
        is_end = corner[NAMES[world]] == (axis[world] > 0)
        place.append(slice(length - length // 4, None) if is_end else slice(0, length // 4))
    voxels[0, place[0], place[1], shape[2] // 2] = 1000
    return Volume(voxels, Geometry.from_matrix(shape, affine), "CT")


@pytest.mark.parametrize("name", PLANES)
def test_a_bright_corner_appears_where_a_radiologist_expects_it(name: str) -> None:
    axes, corner, (top, left) = PLANES[name]
    shown = pixels(preview(with_corner(axes, corner, (40, 24, 5))))
    rows, columns = (length // 8 for length in shown.shape)
    corners = {
        (is_top, is_left): shown[
            slice(0, rows) if is_top else slice(-rows, None), slice(0, columns) if is_left else slice(-columns, None)
        ].mean()
        for is_top in (True, False)
        for is_left in (True, False)
    }
    assert corners.pop((top, left)) > 240
    assert max(corners.values()) < 15


def test_pixels_are_square_and_few() -> None:
    volume = Volume(
        np.random.default_rng(0).normal(size=(1, 300, 100, 3)).astype(np.float32),
        Geometry.from_matrix((300, 100, 3), np.diag([0.5, 3.0, 5.0, 1.0])),
        "MR",
    )
    assert pixels(preview(volume)).shape == (SIDE, SIDE // 2)  # 300 mm high, 150 mm wide


def test_a_small_image_is_not_blown_up_and_keeps_its_stored_order() -> None:
    voxels = np.zeros((3, 20, 10, 1), np.float32)
    voxels[0, :8, :4] = 255
    shown = pixels(preview(Volume(voxels, Geometry.from_matrix((20, 10, 1), np.eye(4)), "DX")))
    assert shown.shape == (10, 20, 3)
    red, green, _ = shown[1, 2]
    assert red > 200 > 60 > green
    assert shown[-2:, -2:].max() < 40


def test_one_odd_voxel_and_padding_do_not_set_the_window() -> None:
    ramp = np.tile(np.linspace(0, 100, 64, dtype=np.float32)[:, None], (1, 64))
    voxels = np.repeat(ramp[None, :, :, None], 3, axis=3)
    voxels[0, 5, 5] = 30_000
    voxels[0, :8] = np.nan
    valid = np.ones((64, 64, 3), bool)
    valid[-8:] = False
    voxels[0, -8:] = -9000
    shown = pixels(preview(Volume(voxels, Geometry.from_matrix((64, 64, 3), np.diag([-1.0, -1, 1, 1])), "CT", valid)))
    assert shown[:, 52:55].mean() > 220 and shown[:, 10:12].mean() < 30
    assert shown[:, 58:].max() < 40 and shown[:, :6].max() < 40


def test_a_constant_or_empty_slice_is_black() -> None:
    for value in (7.0, np.nan):
        volume = Volume(np.full((1, 8, 8, 3), value, np.float32), Geometry.from_matrix((8, 8, 3), np.eye(4)), "CT")
        assert pixels(preview(volume)).max() == 0


def _burned(dataset: Dataset) -> None:
    dataset.BurnedInAnnotation = "YES"


@pytest.mark.parametrize(("kind", "is_shown"), [("DX", True), ("US", False), ("burned", False), ("capture", False)])
def test_no_preview_where_text_may_be_burned_in(tmp_path: Path, kind: str, is_shown: bool) -> None:
    def capture(dataset: Dataset) -> None:
        dataset.ConversionType = "WSD"

    edit = {"burned": _burned, "capture": capture}.get(kind)
    stored = np.random.default_rng(1).integers(0, 200, (24, 16)).astype(np.uint8)
    write_radiograph(tmp_path / "a.dcm", stored, modality="US" if kind == "US" else "DX", edit=edit)
    (series,) = discover(tmp_path, ReadOptions(modality="DX")).series
    assert bool(describe(series, ReadOptions(), shown=1.0).preview) is is_shown


def test_none_is_made_unless_asked_for_and_the_turn_does_not_change(tmp_path: Path) -> None:
    write_series(tmp_path, np.ones((8, 8, 3), np.uint16))
    (series,) = discover(tmp_path, ReadOptions()).series
    assert not describe(series, ReadOptions()).preview
    made = describe(series, ReadOptions(), shown=1.0).preview
    assert made and made == describe(series, ReadOptions(), shown=1.0).preview


def test_the_cap_is_dealt_evenly_to_the_splits() -> None:
    cases, _ = cohort((LESION,), count=60, per_patient=1)
    order = [Split.TRAIN] * 50 + [Split.VALIDATION] * 4 + [Split.TEST] * 6
    split: list[Case] = [case.model_copy(update={"split": one}) for case, one in zip(cases, order, strict=True)]
    previews = {case.case: b"x" for case in split if case.case != "C0000"}
    shown = chosen(split, previews, 20)
    assert Counter(case.split for case in shown) == {Split.TRAIN: 10, Split.VALIDATION: 4, Split.TEST: 6}
    assert "C0000" not in {case.case for case in shown}
    assert len(chosen(split, previews, 0)) == 0 and len(chosen(split, previews, 999)) == 59


def test_the_share_that_is_made_leaves_enough_to_choose_from() -> None:
    assert PreviewSettings(count=10).share(1000) == pytest.approx(0.03)
    assert PreviewSettings(count=10).share(5) == 1.0
    assert PreviewSettings(count=0).share(5) == 0.0
