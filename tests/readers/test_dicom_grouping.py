"""Which DICOM files make one series: copies, localizers, echoes and phases, patients, frames of reference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantoms.dicom_series import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Edit,
    Identity,
    Orientation,
    Vector,
    expected_affine,
    make_voxels,
    without,
    write_series,
)
from phantoms.readings import (
    assert_all_right,
    assert_refused,
    assert_reopens,
    assert_right,
    assert_right_or_refused,
    read_folder,
)
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat

from pipeline.domain.codes import Code

SHAPE = (6, 5, 7)
POSITION: Vector = (-31.25, 12.5, -80.75)
SPACING: Vector = (0.75, 1.25, 2.5)
AFFINE = expected_affine(AXIAL, POSITION, SPACING)


def write(folder: Path, voxels: np.ndarray[Any, Any] | None = None, **changes: Any) -> list[Path]:
    settings = {"position": POSITION, "spacing": SPACING} | changes
    return write_series(folder, make_voxels(SHAPE) if voxels is None else voxels, **settings)


def test_two_series_in_a_folder_and_one_series_over_folders(tmp_path: Path) -> None:
    one, two = make_voxels(SHAPE), make_voxels(SHAPE, seed=1)
    first = write(tmp_path, one, identity=Identity.numbered(1))
    write(tmp_path, two, identity=Identity.numbered(1).another_series(2))
    for k, path in enumerate(first):
        folder = tmp_path / f"disc {k % 3}" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / path.name)
    assert_all_right(read_folder(tmp_path), [(one, AFFINE), (two, AFFINE)])


def test_a_series_number_used_by_two_patients(tmp_path: Path) -> None:
    """Careless anonymisers do this. The patients are never mixed."""
    one, two = make_voxels(SHAPE), make_voxels(SHAPE, seed=1)
    write(tmp_path / "a", one, identity=Identity())
    stranger = Identity(patient_id="PAT-0002", patient_name="Phantom^Two", study_uid="1.2.826.0.1.3680043.8.498.2")
    write(tmp_path / "b", two, identity=stranger, part=1)
    reading = read_folder(tmp_path)
    codes = Code.AMBIGUOUS, Code.BAD_HEADER
    assert_right_or_refused(reading, [(one, AFFINE), (two, AFFINE)], *codes)
    assert all(series.identity.patient_id for series, _ in reading.volumes)


@pytest.mark.parametrize("says_so", [True, False], ids=["ImageType says so", "only the orientation tells"])
@pytest.mark.parametrize("scouts", [[SAGITTAL], [SAGITTAL, CORONAL]], ids=["one", "two"])
def test_a_localizer_in_the_series_is_skipped(tmp_path: Path, says_so: bool, scouts: list[Orientation]) -> None:
    voxels = make_voxels(SHAPE)
    write(tmp_path, voxels)

    def scout_type(dataset: Dataset, k: int) -> None:
        if says_so:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    skipped = []
    for number, orientation in enumerate(scouts, start=1):
        scout = make_voxels((6, 5, 1), seed=number)
        skipped += write(tmp_path, scout, orientation=orientation, edit=scout_type, part=number)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(voxels, AFFINE)])
    assert {refusal.file.path for refusal in reading.refusals(Code.LOCALIZER)} == {path.resolve() for path in skipped}


def test_a_localizer_among_slices_of_its_own_size_and_plane(tmp_path: Path) -> None:
    """It says that it is a scout and lies in the plane of the slices: it must not become one of them."""
    voxels = make_voxels(SHAPE)
    write(tmp_path, voxels)

    def scout(dataset: Dataset, k: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write(tmp_path, make_voxels((6, 5, 1), seed=9), position=(-31.25, 12.5, -80.75 + 7 * 2.5), edit=scout, part=1)
    assert_all_right(read_folder(tmp_path), [(voxels, AFFINE)])


def test_the_same_instances_twice(tmp_path: Path) -> None:
    paths = write(tmp_path / "a")
    copies = tmp_path / "z copies"
    copies.mkdir()
    for k in (0, 3, 6):
        (copies / f"copy {k}").write_bytes(paths[k].read_bytes())
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(make_voxels(SHAPE), AFFINE)])
    assert len(reading.refusals(Code.DUPLICATE)) == 3
    assert reading.codes == {Code.DUPLICATE}


def test_an_instance_twice_with_another_private_tag(tmp_path: Path) -> None:
    """The archive added a tag on the way: other bytes, the same instance and pixels."""

    def archived(dataset: Dataset, k: int) -> None:
        dataset.add_new(0x00090010, "LO", "ARCHIVE")
        dataset.add_new(0x00091001, "LO", f"shelf {k}")

    write(tmp_path / "a")
    write(tmp_path / "b", edit=archived)
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(make_voxels(SHAPE), AFFINE)])
    assert len(reading.refusals(Code.DUPLICATE)) == 7


def test_one_instance_uid_with_two_pixel_sets(tmp_path: Path) -> None:
    write(tmp_path / "a")
    other = write(tmp_path / "b", make_voxels(SHAPE, seed=4))
    for k in (0, 1, 2, 4, 5, 6):
        other[k].unlink()
    assert_refused(read_folder(tmp_path), Code.AMBIGUOUS, Code.BAD_HEADER)


def test_all_slices_with_one_instance_uid(tmp_path: Path) -> None:
    """They lie at different positions and hold different pixels: no slice may vanish as a duplicate."""

    def same(dataset: Dataset, k: int) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.8.498.5"

    write(tmp_path, edit=same)
    reading = read_folder(tmp_path)
    assert_right_or_refused(reading, [(make_voxels(SHAPE), AFFINE)], Code.AMBIGUOUS, Code.BAD_HEADER)


def set_echo(dataset: Dataset, part: int) -> None:
    dataset.EchoTime, dataset.EchoNumbers = str(4.6 * (part + 1)), part + 1


def set_echo_time_only(dataset: Dataset, part: int) -> None:
    dataset.EchoTime = str(4.6 * (part + 1))


def set_phase(dataset: Dataset, part: int) -> None:
    dataset.TemporalPositionIdentifier, dataset.NumberOfTemporalPositions = part + 1, 2


def set_b_value(dataset: Dataset, part: int) -> None:
    dataset.DiffusionBValue = 1000.0 * part


def set_image_type(dataset: Dataset, part: int) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "MP"[part], "FFE"]


def set_acquisition(dataset: Dataset, part: int) -> None:
    dataset.AcquisitionNumber = part + 1


def set_inversion(dataset: Dataset, part: int) -> None:
    dataset.InversionTime = str(500 + 400 * part)


def set_trigger(dataset: Dataset, part: int) -> None:
    dataset.TriggerTime = str(40 * part)


def set_kernel(dataset: Dataset, part: int) -> None:
    dataset.ConvolutionKernel = ("SOFT", "BONE")[part]


SPLITS = [
    ("MR", set_echo),
    ("MR", set_echo_time_only),
    ("MR", set_phase),
    ("MR", set_b_value),
    ("MR", set_image_type),
    ("MR", set_inversion),
    ("MR", set_trigger),
    ("CT", set_acquisition),
    ("CT", set_phase),
    ("CT", set_kernel),
]
REQUIRED = (set_echo, set_echo_time_only, set_phase, set_b_value)


def write_parts(folder: Path, modality: str, tell: Callable[[Dataset, int], None]) -> list[np.ndarray[Any, Any]]:
    """Two pixel sets at the same positions of one series, interleaved by instance number."""
    sets = [make_voxels(SHAPE, seed=11), make_voxels(SHAPE, seed=12)]
    for part, voxels in enumerate(sets):
        numbers = [2 * k + part + 1 for k in range(SHAPE[2])]
        edit: Edit = lambda dataset, k, part=part: tell(dataset, part)  # type: ignore[misc]  # noqa: E731
        write(folder, voxels, modality=modality, edit=edit, part=part, instance_numbers=numbers)
    return sets


@pytest.mark.parametrize(("modality", "tell"), SPLITS)
def test_two_pixel_sets_at_one_position_are_split_by_the_tag_that_differs(
    tmp_path: Path, modality: str, tell: Callable[[Dataset, int], None]
) -> None:
    sets = write_parts(tmp_path, modality, tell)
    reading = read_folder(tmp_path)
    if tell in REQUIRED:
        assert_all_right(reading, [(voxels, AFFINE) for voxels in sets])
        assert not reading.codes
    else:
        assert_right_or_refused(reading, [(voxels, AFFINE) for voxels in sets], Code.AMBIGUOUS)
    assert len({series.key for series, _ in reading.volumes}) == len(reading.volumes)
    assert {series.identity.series_uid for series in reading.discovery.series} <= {Identity().series_uid}


def test_two_pixel_sets_that_no_tag_tells_apart(tmp_path: Path) -> None:
    write_parts(tmp_path, "MR", lambda dataset, part: None)
    assert_refused(read_folder(tmp_path), Code.AMBIGUOUS)


def test_a_second_image_at_one_position(tmp_path: Path) -> None:
    write(tmp_path)
    extra = write(tmp_path, make_voxels(SHAPE, seed=5), part=1)
    for k in (0, 1, 2, 4, 5, 6):
        extra[k].unlink()
    assert_refused(read_folder(tmp_path), Code.AMBIGUOUS)


def test_a_second_echo_with_a_slice_missing(tmp_path: Path) -> None:
    """The whole echo may be used; the other never is, and the two are never mixed."""
    sets = []
    for part in range(2):
        sets.append(make_voxels(SHAPE, seed=20 + part))
        edit: Edit = lambda dataset, k, part=part: set_echo(dataset, part)  # type: ignore[misc]  # noqa: E731
        paths = write(tmp_path, sets[part], modality="MR", edit=edit, part=part)
    paths[3].unlink()
    reading = read_folder(tmp_path)
    assert_right_or_refused(reading, [(sets[0], AFFINE)], Code.GAP, Code.AMBIGUOUS)
    assert reading.codes & {Code.GAP, Code.AMBIGUOUS}


def test_no_frame_of_reference_is_noted(tmp_path: Path) -> None:
    write(tmp_path, edit=without("FrameOfReferenceUID"))
    volume = read_folder(tmp_path).volume
    assert_right(volume, (make_voxels(SHAPE), AFFINE))
    assert any("frame" in note.lower() for note in volume.notes), volume.notes


def test_several_frames_of_reference_are_split(tmp_path: Path) -> None:
    """Coordinates of two frames of reference cannot be compared, even where they look like one stack."""
    voxels = make_voxels((6, 5, 8))

    def moved_patient(dataset: Dataset, k: int) -> None:
        dataset.FrameOfReferenceUID = f"1.2.826.0.1.3680043.8.498.1.{1 + k // 4}"

    write(tmp_path, voxels, edit=moved_patient)
    upper = expected_affine(AXIAL, (POSITION[0], POSITION[1], POSITION[2] + 4 * SPACING[2]), SPACING)
    assert_all_right(read_folder(tmp_path), [(voxels[:, :, :4], AFFINE), (voxels[:, :, 4:], upper)])


@pytest.mark.parametrize("tell", [set_echo, set_phase])
def test_split_series_open_again(tmp_path: Path, tell: Callable[[Dataset, int], None]) -> None:
    write_parts(tmp_path, "MR", tell)
    reading = read_folder(tmp_path)
    assert len(reading.volumes) == 2
    for series, volume in reading.volumes:
        assert_reopens(series, volume)


def test_what_the_header_says_about_the_scan_is_kept(tmp_path: Path) -> None:
    def describe(dataset: Dataset, k: int) -> None:
        dataset.SeriesDescription = "Abdomen 2.5"
        dataset.BodyPartExamined = "ABDOMEN"
        dataset.ConvolutionKernel = "B30f"
        dataset.SliceThickness = DSfloat(5.0)

    write(tmp_path, edit=describe)
    (series,) = read_folder(tmp_path).discovery.series
    assert series.modality == "CT"
    assert series.description == "Abdomen 2.5"
    assert series.identity.patient_id == "PAT-0001"
    assert series.identity.study_uid == Identity().study_uid
    assert series.identity.series_uid == Identity().series_uid
    assert series.identity.accession == "ACC0001"
    assert series.identity.study_date == "20240131"
    known = series.attributes
    assert (known["rows"], known["columns"], known["slices"]) == ("5", "6", "7")
    assert float(known["slice_thickness"]) == 5.0
    assert (known["sex"], known["body_part"], known["plane"], known["kernel"]) == ("F", "ABDOMEN", "axial", "B30f")
    assert float(known["age"]) == 61
    assert known["vendor"] == "Phantom Works"
    assert known["model"] == "Model 1"
    assert known["spacing"] == "0.75x1.25x2.5"


def test_passes_over_midnight_are_in_the_order_of_their_days(tmp_path: Path) -> None:
    days = {0: ("20240131", "235950"), 1: ("20240201", "000110")}
    for number, (date, time) in days.items():

        def stamp(dataset: Dataset, _: int, date: str = date, time: str = time) -> None:
            dataset.AcquisitionDate, dataset.AcquisitionTime = date, time

        stored = np.full((6, 5, 4), 100 * (number + 1), np.int16)
        write_series(tmp_path / str(number), stored, part=number, edit=stamp)
    values = {series.attributes["pass"]: float(volume.voxels.max()) for series, volume in read_folder(tmp_path).volumes}
    assert values == {"0": 100.0, "1": 200.0}
