"""Slices denser or sparser than they say, stacks and copies within one series, and splitting on request."""

import dataclasses
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import (
    AXIAL,
    CORONAL,
    Edit,
    Identity,
    Vector,
    decimals,
    expected_affine,
    make_voxels,
    set_text,
    write_series,
)
from phantoms.readings import assert_all_right, assert_refused, assert_reopens, assert_right, read_folder
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.readers.dicom.slices import SPLIT_KEYS, TIME_KEYS
from pipeline.readers.options import MendOptions, ReadOptions, SplitKey

SHAPE = (6, 5, 6)
POSITION: Vector = (-31.25, 12.5, -80.75)
SPACING: Vector = (0.75, 1.25, 5.0)
AFFINE = expected_affine(AXIAL, POSITION, SPACING)
HALF_WAY: Vector = (POSITION[0], POSITION[1], POSITION[2] + 2.5)
HALF_AFFINE = expected_affine(AXIAL, HALF_WAY, SPACING)


def write(folder: Path, voxels: np.ndarray[Any, Any] | None = None, **changes: Any) -> list[Path]:
    settings = {"position": POSITION, "spacing": SPACING} | changes
    return write_series(folder, make_voxels(SHAPE) if voxels is None else voxels, **settings)


def stating(thickness: str, distance: str, **others: Any) -> Edit:
    """An edit that states thickness and distance (empty: it states none), and sets other attributes."""

    def edit(dataset: Dataset, k: int) -> None:
        dataset.SliceThickness = thickness
        if distance:
            dataset.SpacingBetweenSlices = distance
        for keyword, value in others.items():
            setattr(dataset, keyword, value)

    return edit


def write_passes(folder: Path, thickness: str, distance: str, **told: tuple[Any, Any]) -> list[np.ndarray[Any, Any]]:
    """Two passes of one series, the second half way between the slices of the first."""
    sets = [make_voxels(SHAPE, seed=part) for part in range(2)]
    for part, position in enumerate((POSITION, HALF_WAY)):
        edit = stating(thickness, distance, **{keyword: values[part] for keyword, values in told.items()})
        write(folder, sets[part], position=position, part=part, edit=edit, modality="MR")
    return sets


@pytest.mark.parametrize(
    "told",
    [
        pytest.param({"AcquisitionNumber": (1, 2)}, id="acquisition number"),
        pytest.param({"AcquisitionTime": ("101500", "102500")}, id="acquisition time"),
        pytest.param({"TemporalPositionIdentifier": (1, 2)}, id="time point"),
    ],
)
@pytest.mark.parametrize("distance", ["5.0", ""], ids=["distance", "thickness"])
def test_passes_half_way_between_each_other_are_two_volumes(
    tmp_path: Path, told: dict[str, tuple[Any, Any]], distance: str
) -> None:
    sets = write_passes(tmp_path, "5.0", distance, **told)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(sets[0], AFFINE), (sets[1], HALF_AFFINE)])
    assert not any(volume.notes for _, volume in reading.volumes)
    for series, volume in reading.volumes:
        assert_reopens(series, volume)


def woven(sets: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return np.stack(sets, axis=-1).reshape(*SHAPE[:2], 2 * SHAPE[2])


@pytest.mark.parametrize(
    ("thickness", "distance", "told"),
    [
        pytest.param("2.5", "2.5", {"AcquisitionNumber": (1, 2)}, id="two halves of one volume"),
        pytest.param("5.0", "2.5", {"AcquisitionTime": ("101500", "102500")}, id="overlapping, and says so"),
        pytest.param("5.0", "", {}, id="an overlapping reconstruction"),
    ],
)
def test_interleaved_slices_of_one_volume_stay_together(
    tmp_path: Path, thickness: str, distance: str, told: dict[str, tuple[Any, Any]]
) -> None:
    sets = write_passes(tmp_path, thickness, distance, **told)
    volume = read_folder(tmp_path).volume
    assert_right(volume, (woven(sets), expected_affine(AXIAL, POSITION, (0.75, 1.25, 2.5))))
    assert not volume.notes


def test_passes_that_nothing_tells_apart_are_noted(tmp_path: Path) -> None:
    sets = write_passes(tmp_path, "5.0", "5.0")
    volume = read_folder(tmp_path).volume
    assert_right(volume, (woven(sets), expected_affine(AXIAL, POSITION, (0.75, 1.25, 2.5))))
    assert any("5.00 mm" in note and "2.50 mm" in note for note in volume.notes)


@pytest.mark.parametrize("kept", [slice(0, None, 2), slice(1, None, 3)], ids=["every second", "every third"])
@pytest.mark.parametrize("negative", ["", "-"], ids=["positive", "negative"])
def test_slices_missing_throughout_are_a_gap(tmp_path: Path, kept: slice, negative: str) -> None:
    paths = write(tmp_path, make_voxels((6, 5, 12)), edit=stating("5.0", f"{negative}5.0"))
    for path in set(paths) - set(paths[kept]):
        path.unlink()
    reading = read_folder(tmp_path)
    assert_refused(reading, Code.GAP)
    assert any("5.00 mm" in message and "missing throughout" in message for message in reading.messages)


def test_a_frame_missing_throughout_is_a_gap(tmp_path: Path) -> None:
    frames = make_frames(make_voxels((6, 5, 12)), position=POSITION, spacing=SPACING)[::2]
    write_enhanced(tmp_path / "enhanced.dcm", frames, spacing=SPACING)
    assert_refused(read_folder(tmp_path), Code.GAP)


def test_what_is_mended_of_slices_missing_throughout_is_noted(tmp_path: Path) -> None:
    paths = write(tmp_path, make_voxels((6, 5, 12)), edit=stating("5.0", "5.0"))
    for path in paths[1::2]:
        path.unlink()
    volume = read_folder(tmp_path, ReadOptions(mend=MendOptions(spacing=True))).volume
    assert_right(volume, (make_voxels((6, 5, 12))[:, :, ::2], expected_affine(AXIAL, POSITION, (0.75, 1.25, 10.0))))
    assert any(note.startswith("MENDED") and "missing throughout" in note for note in volume.notes)


@pytest.mark.parametrize(
    ("thickness", "distance", "is_noted"),
    [
        pytest.param("5.0", "5.0", False, id="agrees"),
        pytest.param("5.0", "-5.0", False, id="signed"),
        pytest.param("5.0", "5.01", False, id="rounded"),
        pytest.param("4.0", "1.0", True, id="the space between slices"),
        pytest.param("5.0", "6.0", True, id="more"),
        pytest.param("5.0", "3.5", True, id="no whole part"),
        pytest.param("5.0", "0", False, id="zero says nothing"),
    ],
)
def test_positions_go_before_the_stated_distance(tmp_path: Path, thickness: str, distance: str, is_noted: bool) -> None:
    write(tmp_path, edit=stating(thickness, distance))
    volume = read_folder(tmp_path).volume
    assert_right(volume, (make_voxels(SHAPE), AFFINE))
    assert bool(volume.notes) == is_noted, volume.notes


def test_a_stated_distance_that_is_no_number_says_nothing(tmp_path: Path) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        set_text(dataset, 0x00180088, "DS", "5,0 mm")

    write(tmp_path, edit=edit)
    assert_right(read_folder(tmp_path).volume, (make_voxels(SHAPE), AFFINE))


# numbers that nobody can mean


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        pytest.param(0x00200032, "1e30\\0\\0", id="far"),
        pytest.param(0x00200032, "0\\0\\-1E+300", id="farther"),
        pytest.param(0x00200032, "0\\0\\1e999", id="overflow"),
        pytest.param(0x00280030, "1e30\\1e30", id="large"),
        pytest.param(0x00280030, "1e-30\\1", id="small"),
        pytest.param(0x00180050, "1e30", id="thick"),
    ],
)
@pytest.mark.parametrize("slices", [range(6), [3]], ids=["all", "one"])
def test_numbers_without_measure_are_refused(tmp_path: Path, tag: int, text: str, slices: list[int]) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        if k in slices:
            set_text(dataset, tag, "DS", text)

    write(tmp_path, edit=edit)
    assert_refused(read_folder(tmp_path), Code.BAD_VALUE)


def test_positions_that_grow_without_measure_are_refused(tmp_path: Path) -> None:
    """Even, straight and whole, in the units of a galaxy."""

    def edit(dataset: Dataset, k: int) -> None:
        set_text(dataset, 0x00200032, "DS", f"0\\0\\{k + 1}e30")

    write(tmp_path, edit=edit)
    assert_refused(read_folder(tmp_path), Code.BAD_VALUE)


def test_a_radiograph_without_measure_is_refused(tmp_path: Path) -> None:
    write_radiograph(tmp_path / "a.dcm", make_voxels((6, 5, 1))[:, :, 0], spacing=(1e30, 1e30))
    assert_refused(read_folder(tmp_path), Code.BAD_VALUE)


# stacks


def shuffled(frames: list[Any]) -> list[Any]:
    return [frames[index] for index in np.random.default_rng(5).permutation(len(frames))]


@pytest.mark.parametrize(
    ("slices", "orientation", "position"),
    [
        pytest.param(6, AXIAL, (POSITION[0], POSITION[1], POSITION[2] + 30.0), id="goes on where the first ends"),
        pytest.param(6, AXIAL, HALF_WAY, id="between the slices of the first"),
        pytest.param(2, CORONAL, POSITION, id="few and across: no localizer"),
        pytest.param(1, AXIAL, (POSITION[0], POSITION[1], POSITION[2] + 30.0), id="one more"),
    ],
)
def test_stacks_of_one_file_are_never_glued(tmp_path: Path, slices: int, orientation: Any, position: Vector) -> None:
    sets = [make_voxels(SHAPE, seed=1), make_voxels((*SHAPE[:2], slices), seed=2)]
    frames = make_frames(sets[0], position=POSITION, spacing=SPACING, stack="A")
    frames += make_frames(sets[1], orientation=orientation, position=position, spacing=SPACING, stack="B")
    write_enhanced(tmp_path / "enhanced.dcm", shuffled(frames), spacing=SPACING)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(sets[0], AFFINE), (sets[1], expected_affine(orientation, position, SPACING))])
    assert {series.attributes["stack"] for series, _ in reading.volumes} == {"A", "B"}
    for series, volume in reading.volumes:
        assert_reopens(series, volume)


def test_a_stack_of_its_own_for_every_frame_says_nothing(tmp_path: Path) -> None:
    frames = make_frames(make_voxels(SHAPE), position=POSITION, spacing=SPACING)
    named = [dataclasses.replace(frame, stack=str(k)) for k, frame in enumerate(frames)]
    write_enhanced(tmp_path / "enhanced.dcm", shuffled(named), spacing=SPACING)
    assert_right(read_folder(tmp_path).volume, (make_voxels(SHAPE), AFFINE))


# copies under another instance


def renamed(dataset: Dataset, *_: int) -> None:
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.77"
    dataset.InstanceNumber = 77
    dataset.InstanceCreationTime = "235959"


def test_a_multiframe_file_under_another_instance_is_a_copy(tmp_path: Path) -> None:
    frames = make_frames(make_voxels(SHAPE), position=POSITION, spacing=SPACING)
    write_enhanced(tmp_path / "a.dcm", frames, spacing=SPACING)
    write_enhanced(tmp_path / "b.dcm", frames, spacing=SPACING, edit=renamed)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(make_voxels(SHAPE), AFFINE)])
    assert len(reading.refusals(Code.DUPLICATE)) == 1


@pytest.mark.parametrize("change", ["pixels", "rescale", "time"])
def test_two_multiframe_files_that_differ_are_two(tmp_path: Path, change: str) -> None:
    sets = [make_voxels(SHAPE), make_voxels(SHAPE, seed=int(change == "pixels"))]
    told = [{}, {"slope": 2.0} if change == "rescale" else {"temporal": 2} if change == "time" else {}]
    for part, (voxels, same) in enumerate(zip(sets, told, strict=True)):
        frames = make_frames(voxels, position=POSITION, spacing=SPACING, **same)
        write_enhanced(tmp_path / f"{part}.dcm", frames, spacing=SPACING, edit=renamed if part else None)
    factors = (1.0, 2.0 if change == "rescale" else 1.0)
    assert_all_right(read_folder(tmp_path), [(v * f, AFFINE) for v, f in zip(sets, factors, strict=True)])


def test_a_radiograph_under_another_instance_is_a_copy_and_another_view_is_none(tmp_path: Path) -> None:
    pixels = make_voxels((6, 5, 1))[:, :, 0]
    write_radiograph(tmp_path / "a.dcm", pixels)
    write_radiograph(tmp_path / "b.dcm", pixels, edit=renamed)
    write_radiograph(tmp_path / "c.dcm", pixels, view="LL", instance="2")
    reading = read_folder(tmp_path)
    assert len(reading.volumes) == 2
    assert len(reading.refusals(Code.DUPLICATE)) == 1


def test_a_slice_under_another_instance_is_a_copy(tmp_path: Path) -> None:
    write(tmp_path / "a")
    for path in write(tmp_path / "b", edit=renamed)[1:]:
        path.unlink()
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(make_voxels(SHAPE), AFFINE)])
    assert len(reading.refusals(Code.DUPLICATE)) == 1


# splitting on request


def test_every_attribute_that_a_slice_carries_may_be_named() -> None:
    assert set(SPLIT_KEYS) | set(TIME_KEYS) <= set(get_args(SplitKey))


@pytest.mark.parametrize(
    ("key", "edit"),
    [
        pytest.param("AcquisitionNumber", {"AcquisitionNumber": 2}, id="acquisition"),
        pytest.param("SliceThickness", {"SliceThickness": "7.0"}, id="thickness"),
        pytest.param("KVP", {"KVP": "80"}, id="tube voltage"),
    ],
)
def test_a_series_is_split_by_a_named_key(tmp_path: Path, key: SplitKey, edit: dict[str, Any]) -> None:
    """Two blocks at another distance each, in one series: refused, unless told how to split."""
    sets = [make_voxels(SHAPE, seed=1), make_voxels(SHAPE, seed=2)]
    wide: Vector = (0.75, 1.25, 8.0)
    above: Vector = (POSITION[0], POSITION[1], POSITION[2] + 33.0)
    write(tmp_path, sets[0])

    def change(dataset: Dataset, k: int) -> None:
        for keyword, value in edit.items():
            setattr(dataset, keyword, value)

    write(tmp_path, sets[1], position=above, spacing=wide, part=1, edit=change)
    assert_refused(read_folder(tmp_path), Code.SPACING)
    options = ReadOptions(split_by=(key,))
    reading = read_folder(tmp_path, options)
    assert_all_right(reading, [(sets[0], AFFINE), (sets[1], expected_affine(AXIAL, above, wide))])
    assert all(
        note == f"SPLIT: by {key}, as read.split_by asks" for _, volume in reading.volumes for note in volume.notes
    )
    assert len({series.key for series, _ in reading.volumes}) == 2


def test_two_sizes_in_a_series_are_split_where_asked_for(tmp_path: Path) -> None:
    sets = [make_voxels(SHAPE, seed=1), make_voxels((8, 5, 6), seed=2)]
    write(tmp_path, sets[0])
    write(tmp_path, sets[1], part=1)
    assert_refused(read_folder(tmp_path), Code.MATRIX, Code.AMBIGUOUS)
    reading = read_folder(tmp_path, ReadOptions(split_by=("Rows", "Columns")))
    assert_all_right(reading, [(sets[0], AFFINE), (sets[1], AFFINE)])


def test_patients_in_one_series_are_not_parted_by_a_key(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, part=1, identity=Identity(patient_id="PAT-0002"), edit=stating("5.0", "", AcquisitionNumber=2))
    assert_refused(read_folder(tmp_path, ReadOptions(split_by=("AcquisitionNumber",))), Code.BAD_HEADER)


def test_positions_of_decimals_are_kept(tmp_path: Path) -> None:
    """The bounds leave alone what scanners write."""
    far: Vector = (-1500.0, 2200.5, -3999.25)
    write(tmp_path, position=far, edit=lambda dataset, k: setattr(dataset, "SliceThickness", decimals([0.05])[0]))
    assert_right(read_folder(tmp_path).volume, (make_voxels(SHAPE), expected_affine(AXIAL, far, SPACING)))


def test_a_series_that_was_written_again_at_another_time_is_a_copy(tmp_path: Path) -> None:
    for part in range(2):
        write(tmp_path, part=part, edit=lambda dataset, k, part=part: setattr(dataset, "ContentTime", f"1{part}1500"))
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(make_voxels(SHAPE), AFFINE)])
    assert len(reading.refusals(Code.DUPLICATE)) == SHAPE[2]


def test_air_that_is_equal_at_two_times_is_no_copy(tmp_path: Path) -> None:
    sets = [make_voxels(SHAPE, seed=part) for part in range(2)]
    for part, voxels in enumerate(sets):
        voxels[:, :, 2:] = 0
        write(
            tmp_path,
            voxels,
            part=part,
            edit=lambda dataset, k, part=part: setattr(dataset, "ContentTime", f"1{part}15"),
        )
    assert_all_right(read_folder(tmp_path), [(voxels, AFFINE) for voxels in sets])


@pytest.mark.parametrize("texts", [("4.6", "4.60"), ("4.6", "4.6000001"), ("+4.6", "46e-1")])
def test_one_number_written_in_two_ways_is_one_echo(tmp_path: Path, texts: tuple[str, str]) -> None:
    write(tmp_path, edit=lambda dataset, k: set_text(dataset, 0x00180081, "DS", texts[k % 2]), modality="MR")
    assert_right(read_folder(tmp_path).volume, (make_voxels(SHAPE), AFFINE))


@pytest.mark.parametrize(("other", "is_one"), [("0.75000001", True), ("0.7500", True), ("0.751", False)])
def test_pixel_spacing_may_be_rounded(tmp_path: Path, other: str, is_one: bool) -> None:
    write(tmp_path, edit=lambda dataset, k: set_text(dataset, 0x00280030, "DS", f"1.25\\{other if k == 3 else 0.75}"))
    reading = read_folder(tmp_path)
    if is_one:
        assert_right(reading.volume, (make_voxels(SHAPE), AFFINE))
    else:
        assert_refused(reading, Code.MATRIX)
