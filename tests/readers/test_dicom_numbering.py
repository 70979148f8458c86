"""What the numbers and UIDs of images tell of a series stands in the notes of its case."""

from pathlib import Path

import pytest
from phantoms.dicom_series import make_voxels, write_series
from phantoms.readings import read_folder

from pipeline.cohort.describe import describe
from pipeline.readers.dicom.numbering import missing_images
from pipeline.readers.options import ReadOptions


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ("1 2 3 4", ""),
        ("0 1 2", ""),
        ("4 2 3", "1 of 4 images are missing at an end"),
        ("3 4 5", "2 of 5 images are missing at an end"),
        ("0 2 3", "1 of 4 images are missing in the middle"),
        ("1 2 4 5", "1 of 5 images are missing in the middle"),
        ("2 3 5 6", ""),  # no numbering of one gap
        ("1 3 5 7", ""),
        ("101 102 103", ""),  # counted through the examination
        ("2 3 x", ""),
        ("2 3 -1", ""),
        ("2 3 ²", ""),
        ("1 " + "9" * 5000, ""),
        ("", ""),
    ],
)
def test_what_numbers_say(numbers: str, says: str) -> None:
    assert missing_images(numbers.split()) == says


def notes(folder: Path) -> list[tuple[str, ...]]:
    return [describe(series, ReadOptions()).notes for series, _ in read_folder(folder).volumes]


def test_a_slice_lost_at_an_end_is_noted(tmp_path: Path) -> None:
    voxels = make_voxels((6, 5, 5))
    paths = write_series(tmp_path, voxels)
    assert notes(tmp_path) == [()]
    paths[0].write_bytes(bytes(3000))
    assert [each[0] for each in notes(tmp_path)] == ["InstanceNumber says that 1 of 5 images are missing at an end"]


def test_the_echoes_of_a_series_are_counted_together(tmp_path: Path) -> None:
    voxels = make_voxels((6, 5, 3))
    for part in (0, 1):

        def edit(dataset, k, part=part):  # type: ignore[no-untyped-def]
            dataset.EchoTime = 10 + part

        numbers = [1 + k + 3 * part for k in range(3)]
        write_series(tmp_path, voxels + part, part=part, modality="MR", edit=edit, instance_numbers=numbers)
    assert notes(tmp_path) == [(), ()]


def test_without_numbers_nothing_is_said(tmp_path: Path) -> None:
    voxels = make_voxels((6, 5, 4))
    write_series(tmp_path, voxels, instance_numbers=[None, 2, 3, 4])
    assert notes(tmp_path) == [()]
    assert len(read_folder(tmp_path).volumes) == 1


@pytest.mark.parametrize(
    ("shared", "says"), [(0, ""), (2, "2 different images share one SOPInstanceUID"), (5, "5 dif")]
)
def test_slices_that_share_a_uid_are_read_and_it_is_noted(tmp_path: Path, shared: int, says: str) -> None:
    def edit(dataset, k):  # type: ignore[no-untyped-def]
        if k < shared:
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.7"

    voxels = make_voxels((6, 5, 5))
    write_series(tmp_path, voxels, edit=edit)
    (volume,) = read_folder(tmp_path).volumes
    assert volume[1].voxels.shape[-1] == 5
    (told,) = notes(tmp_path)
    says = f"{shared} different images share one SOPInstanceUID: what refers to them by it cannot tell them apart"
    assert told == ((says,) if shared else ())


def test_a_series_that_was_sent_again_with_another_header_shares_no_uid(tmp_path: Path) -> None:
    for folder, station in (("once", "A"), ("again", "B")):

        def edit(dataset, _, station=station):  # type: ignore[no-untyped-def]
            dataset.StationName = station

        write_series(tmp_path / folder, make_voxels((6, 5, 4)), edit=edit)
    assert notes(tmp_path) == [()]


def test_stacks_that_share_a_uid_are_told_apart(tmp_path: Path) -> None:
    for part in (0, 1):

        def edit(dataset, _, part=part):  # type: ignore[no-untyped-def]
            dataset.EchoTime = 10 + part
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.7"

        write_series(tmp_path / f"{part}", make_voxels((6, 5, 3)) + part, part=part, modality="MR", edit=edit)
    found = read_folder(tmp_path).volumes
    assert len({series.key for series, _ in found}) == 2
    assert [len(told) for told in notes(tmp_path)] == [1, 1]


def test_a_copy_of_a_file_shares_no_uid(tmp_path: Path) -> None:
    paths = write_series(tmp_path, make_voxels((6, 5, 4)))
    (tmp_path / "copy.dcm").write_bytes(paths[0].read_bytes())
    assert notes(tmp_path) == [()]
