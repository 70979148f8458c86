"""Two images at one position: every attribute that tells them apart, also times, triggers and private ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_series import (
    AXIAL,
    Edit,
    Vector,
    expected_affine,
    make_item,
    make_items,
    make_voxels,
    write_series,
)
from phantoms.readings import assert_all_right, assert_refused, assert_reopens, assert_right, read_folder
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.readers.options import ReadOptions, SplitKey

SHAPE = (6, 5, 6)
POSITION: Vector = (-31.25, 12.5, -80.75)
SPACING: Vector = (0.75, 1.25, 5.0)
AFFINE = expected_affine(AXIAL, POSITION, SPACING)

Told = Callable[[Dataset, int, int], None]
"""Sets what tells a part (second argument) in a slice (third) of it."""


def setting(**values: tuple[Any, Any]) -> Told:
    def told(dataset: Dataset, part: int, _: int) -> None:
        for keyword, of_parts in values.items():
            setattr(dataset, keyword, of_parts[part])

    return told


def ge_image_type(dataset: Dataset, part: int, _: int) -> None:
    dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x2F, "SS", part)


def write_parts(folder: Path, told: Told, parts: int = 2, modality: str = "MR") -> list[np.ndarray[Any, Any]]:
    """Volumes at the same positions of one series."""
    sets = [make_voxels(SHAPE, seed=30 + part) for part in range(parts)]
    for part, voxels in enumerate(sets):
        edit: Edit = lambda dataset, k, part=part: told(dataset, part, k)  # type: ignore[misc]  # noqa: E731
        numbers = [parts * k + part + 1 for k in range(SHAPE[2])]
        write_series(
            folder,
            voxels,
            position=POSITION,
            spacing=SPACING,
            modality=modality,
            part=part,
            edit=edit,
            instance_numbers=numbers,
        )
    return sets


@pytest.mark.parametrize(
    ("modality", "told", "attribute"),
    [
        pytest.param("MR", setting(FlipAngle=("2", "15")), "flip_angle", id="flip angle"),
        pytest.param("MR", setting(SequenceName=("*ep_b0", "*ep_b1000")), "sequence", id="sequence"),
        pytest.param("MR", setting(ComplexImageComponent=("REAL", "IMAGINARY")), "component", id="component"),
        pytest.param("MR", ge_image_type, "component", id="component of GE"),
        pytest.param(
            "CT", setting(NominalPercentageOfRespiratoryPhase=(0.0, 50.0)), "respiratory_phase", id="breathing"
        ),
        pytest.param("CT", setting(SeriesNumber=(3, 4)), "series_number", id="series number"),
        pytest.param("CT", setting(SeriesDescription=("arterial", "portal")), "", id="description"),
        pytest.param("CT", setting(SliceThickness=("3", "5")), "slice_thickness", id="thickness"),
    ],
)
def test_what_tells_two_images_apart_splits_them(tmp_path: Path, modality: str, told: Told, attribute: str) -> None:
    sets = write_parts(tmp_path, told, modality=modality)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(voxels, AFFINE) for voxels in sets])
    assert not reading.codes and not any(volume.notes for _, volume in reading.volumes)
    assert len({series.attributes.get(attribute, series.description) for series, _ in reading.volumes}) == 2
    for series, volume in reading.volumes:
        assert_reopens(series, volume)


@pytest.mark.parametrize("offset", ["", "+0100", "-0500", "-03:30", "+01"])
def test_a_time_with_an_offset_from_utc_orders_passes(tmp_path: Path, offset: str) -> None:
    def told(dataset: Dataset, part: int, k: int) -> None:
        dataset.AcquisitionDateTime = f"202401311015{30 * part + k:02d}.5{offset}"

    sets = write_parts(tmp_path, told)
    reading = read_folder(tmp_path)
    assert len(reading.volumes) == 2
    for series, volume in reading.volumes:
        assert_right(volume, (sets[int(series.attributes["pass"])], AFFINE))


def triggered(spread: float, parts: int) -> Told:
    """Trigger times of a heart that beats at another rate while each slice is acquired, as GE writes them."""

    def told(dataset: Dataset, part: int, k: int) -> None:
        beat = 800 * (1 + spread * np.sin(2.1 * k))
        dataset.TriggerTime = str(round(beat * part / parts))
        dataset.AcquisitionTime = dataset.ContentTime = f"1000{k:02d}"

    return told


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.08, 0.3])
def test_phases_after_a_trigger_are_ranked_at_each_position(tmp_path: Path, spread: float) -> None:
    sets = write_parts(tmp_path, triggered(spread, 25), parts=25)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(voxels, AFFINE) for voxels in sets])


def test_phases_of_magnitude_and_velocity_are_told_by_both(tmp_path: Path) -> None:
    def told(dataset: Dataset, part: int, k: int) -> None:
        triggered(0.08, 10)(dataset, part // 2, k)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "MP"[part % 2]]

    sets = write_parts(tmp_path, told, parts=20)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(voxels, AFFINE) for voxels in sets])
    assert {len(series.attributes["pass"]) for series, _ in reading.volumes} == {1}


def test_phases_are_not_ranked_among_images_of_another_kind(tmp_path: Path) -> None:
    """The second echo comes a little later, before or after the next phase of the first: by the beat at its slice."""

    def told(dataset: Dataset, part: int, k: int) -> None:
        phase, echo = divmod(part, 2)
        beat = 800 * (1 + 0.2 * np.sin(2.1 * k))
        dataset.EchoTime = ("2.3", "9.2")[echo]
        dataset.TriggerTime = str(round(beat * phase / 10 + 85 * echo))
        dataset.AcquisitionTime = f"1000{k:02d}"

    sets = write_parts(tmp_path, told, parts=20)
    assert_all_right(read_folder(tmp_path), [(voxels, AFFINE) for voxels in sets])


def test_two_images_of_one_trigger_time_stay_ambiguous(tmp_path: Path) -> None:
    def told(dataset: Dataset, part: int, k: int) -> None:
        triggered(0.08, 10)(dataset, part // 2, k)

    write_parts(tmp_path, told, parts=6)
    assert_refused(read_folder(tmp_path), Code.AMBIGUOUS)


def test_a_phase_that_lacks_a_slice_stays_ambiguous(tmp_path: Path) -> None:
    write_parts(tmp_path, triggered(0.08, 6), parts=6)
    min(tmp_path.iterdir()).unlink()
    assert_refused(read_folder(tmp_path), Code.AMBIGUOUS)


@pytest.mark.parametrize(
    ("keyword", "values", "is_noted"),
    [
        ("FlipAngle", ("150", "160"), True),
        ("SequenceName", ("tse1", "tse2"), True),
        ("SliceThickness", ("5", "5.0001"), False),
        ("ComplexImageComponent", ("MAGNITUDE", ""), True),
    ],
)
def test_what_may_vary_within_a_volume_splits_none(
    tmp_path: Path, keyword: str, values: tuple[str, str], is_noted: bool
) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        setattr(dataset, keyword, values[k % 2])

    voxels = make_voxels(SHAPE)
    write_series(tmp_path, voxels, position=POSITION, spacing=SPACING, modality="MR", edit=edit)
    volume = read_folder(tmp_path).volume
    assert_right(volume, (voxels, AFFINE))
    assert volume.notes == (f"its slices differ in {keyword}",) * is_noted


@pytest.mark.parametrize("key", ["FlipAngle", "SequenceName", "SeriesDescription"])
def test_it_may_be_asked_for(tmp_path: Path, key: SplitKey) -> None:
    values = {"FlipAngle": ("2", "15"), "SequenceName": ("a", "b"), "SeriesDescription": ("one", "two")}[key]

    def edit(dataset: Dataset, k: int) -> None:
        setattr(dataset, key, values[k // 3])

    voxels = make_voxels(SHAPE)
    write_series(tmp_path, voxels, position=POSITION, spacing=SPACING, modality="MR", edit=edit)
    upper = expected_affine(AXIAL, (POSITION[0], POSITION[1], POSITION[2] + 15.0), SPACING)
    reading = read_folder(tmp_path, ReadOptions(split_by=(key,)))
    assert_all_right(reading, [(voxels[:, :, :3], AFFINE), (voxels[:, :, 3:], upper)])


def test_a_copy_under_another_description_is_a_copy(tmp_path: Path) -> None:
    """An archive that renames a series and sends an image of it again does not make another volume of one slice."""
    voxels = make_voxels(SHAPE)
    write_series(tmp_path / "a", voxels, position=POSITION, spacing=SPACING)

    def renamed(dataset: Dataset, k: int) -> None:
        dataset.SeriesDescription, dataset.SeriesNumber = "renamed", 12

    for path in write_series(tmp_path / "b", voxels, position=POSITION, spacing=SPACING, part=1, edit=renamed)[1:]:
        path.unlink()
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(voxels, AFFINE)])
    assert len(reading.refusals(Code.DUPLICATE)) == 1


# frames


def grouped(keyword: str, attribute: str, values: tuple[Any, Any]) -> Callable[[Dataset], None]:
    """An edit that puts an attribute into a functional group, of the second half of the frames another value."""

    def edit(dataset: Dataset) -> None:
        groups = dataset.PerFrameFunctionalGroupsSequence
        for number, group in enumerate(groups):
            item = make_item(**{attribute: values[2 * number // len(groups)]})
            setattr(group, keyword, [item])

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        grouped("MRImageFrameTypeSequence", "ComplexImageComponent", ("MAGNITUDE", "PHASE")),
        grouped(
            "RespiratorySynchronizationSequence",
            "NominalPercentageOfRespiratoryPhase",
            (0.0, 50.0),
        ),
        grouped("MRTimingAndRelatedParametersSequence", "FlipAngle", (2.0, 15.0)),
        grouped("UnassignedPerFrameConvertedAttributesSequence", "EchoTime", ("2.3", "9.2")),
        grouped("UnassignedPerFrameConvertedAttributesSequence", "AcquisitionTime", ("101500", "102500")),
    ],
    ids=["component", "breathing", "flip angle", "converted echo", "converted time"],
)
def test_frames_are_told_apart_by_their_groups(tmp_path: Path, edit: Callable[[Dataset], None]) -> None:
    sets = [make_voxels(SHAPE, seed=1), make_voxels(SHAPE, seed=2)]
    frames = [one for voxels in sets for one in make_frames(voxels, position=POSITION, spacing=SPACING)]
    write_enhanced(tmp_path / "enhanced.dcm", frames, spacing=SPACING, edit=edit)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(voxels, AFFINE) for voxels in sets])
    for series, volume in reading.volumes:
        assert_reopens(series, volume)


def test_what_a_converter_left_unassigned_for_all_frames_is_read(tmp_path: Path) -> None:
    """PET that was converted holds its Units there, and each frame a slope of its own."""

    def edit(dataset: Dataset) -> None:
        uid = "1.2.840.10008.5.1.4.1.1.128.1"
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid
        dataset.Modality = "PT"
        dataset.SharedFunctionalGroupsSequence[0].UnassignedSharedConvertedAttributesSequence = make_items(
            Units="BQML", ConvolutionKernel="ALLPASS", Modality="MR", SeriesNumber="7"
        )

    voxels = make_voxels(SHAPE)
    write_enhanced(
        tmp_path / "pet.dcm", make_frames(voxels, position=POSITION, spacing=SPACING), spacing=SPACING, edit=edit
    )
    ((series, volume),) = read_folder(tmp_path).volumes
    assert_right(volume, (voxels, AFFINE))
    assert not volume.notes and volume.modality == "PT"
    assert series.attributes["kernel"] == "ALLPASS"
