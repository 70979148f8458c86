"""A series says which files beside it were refused: nothing in it shows that a slice at its end is lost."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from phantoms.archives import write_zip
from phantoms.dicom_series import AXIAL, CORONAL, SAGITTAL, Identity, make_voxels, write_series

from pipeline.readers.discovery import discover
from pipeline.readers.neighbours import series_notes
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read

VOXELS = make_voxels((6, 5, 5))
OPTIONS = ReadOptions(modality="MR")


def notes(folder: Path) -> list[tuple[str, ...]]:
    """What the volumes of a folder say, in the order of their series."""
    found = discover(folder, OPTIONS).series
    said = [read(one, OPTIONS).notes for one in found]
    assert said == [series_notes(one) for one in found]
    return said


def pack(path: Path) -> None:
    path.with_suffix(".dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def cut_in_its_series(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"\x20\x00\x0e\x00") + 8 + 20])


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda path: path.write_bytes(b""), "TRUNCATED"),
        (lambda path: path.write_bytes(bytes(4000)), "CORRUPT"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "TRUNCATED"),
        (lambda path: path.write_bytes(b"<html>no such file</html>"), "BAD_HEADER"),
        (pack, "NOT_SUPPORTED"),
        (cut_in_its_series, "TRUNCATED"),
    ],
    ids=["empty", "zeros", "cut early", "another content", "packed", "cut in its UID"],
)
def test_a_last_slice_that_nobody_can_place_is_told(tmp_path: Path, damage: Callable[[Path], None], code: str) -> None:
    damage(write_series(tmp_path, VOXELS)[-1])
    (said,) = notes(tmp_path)
    assert said == (f"files in its folder were refused (1 {code}): if they are slices of it, it is not whole",)


def test_a_slice_of_the_same_series_that_is_of_another_kind(tmp_path: Path) -> None:
    def edit(dataset, k):  # type: ignore[no-untyped-def]
        if k == 4:
            dataset.NumberOfFrames = 2
            dataset.PixelData = dataset.PixelData * 2

    write_series(tmp_path, VOXELS, edit=edit)
    (said,) = notes(tmp_path)
    assert said == (
        "files of the same series were refused (1 NOT_SUPPORTED): if they are slices of it, it is not whole",
    )


def test_only_what_lies_in_its_folder_or_archive_counts(tmp_path: Path) -> None:
    write_series(tmp_path / "whole", VOXELS)
    lost = write_series(tmp_path / "lost", VOXELS + 1, identity=Identity.numbered(2))
    lost[-1].write_bytes(b"")
    packed = write_series(tmp_path / "plain", VOXELS + 2, identity=Identity.numbered(3))
    members = {path.name: path.read_bytes() for path in packed[:-1]} | {"last.dcm": b""}
    write_zip(tmp_path / "cd.zip", members)
    for path in packed:
        path.unlink()
    assert sorted(len(each) for each in notes(tmp_path)) == [0, 1, 1]


COMPANION = b"\0\x05\x16\x07\0\x02\0\0Mac OS X        \0\x02" + bytes(4070)
"""What macOS lays beside a file on a disk that holds no attributes of it."""


@pytest.mark.parametrize("place", ["folder", "archive"])
def test_companions_of_macos_are_skipped_and_say_nothing(tmp_path: Path, place: str) -> None:
    paths = write_series(tmp_path / "cd", VOXELS)
    names = [f"._{path.name}" for path in paths] + ["._scan.nii.gz", "._EXPORT.zip"]
    if place == "folder":
        for name in names:
            (tmp_path / "cd" / name).write_bytes(COMPANION)
    else:
        members = {f"cd/{path.name}": path.read_bytes() for path in paths}
        write_zip(tmp_path / "cd.zip", members | {f"__MACOSX/cd/{name}": COMPANION for name in names})
        for path in paths:
            path.unlink()
    assert notes(tmp_path) == [()]
    refusals = discover(tmp_path, OPTIONS).refusals
    assert {str(refusal.code) for refusal in refusals} == {"NOT_AN_IMAGE"} and len(refusals) == len(names)


def test_another_series_that_is_refused_with_its_name_says_nothing(tmp_path: Path) -> None:
    write_series(tmp_path, VOXELS)
    gap = write_series(tmp_path, VOXELS + 1, identity=Identity().another_series(2))
    gap[2].unlink()
    assert discover(tmp_path, OPTIONS).refusals
    assert notes(tmp_path) == [()]


@pytest.mark.parametrize(
    ("modality", "said"),
    [
        ("CT", ()),
        ("MR", ("its class is that of CT images, its Modality is MR: one of them is wrong",)),
    ],
)
def test_a_class_and_a_modality_that_exclude_each_other_are_told(
    tmp_path: Path, modality: str, said: tuple[str, ...]
) -> None:
    def edit(dataset, k):  # type: ignore[no-untyped-def]
        dataset.Modality = modality

    write_series(tmp_path, VOXELS, edit=edit)
    (series,) = discover(tmp_path, OPTIONS).series
    assert series_notes(series) == said
    assert [note for note in read(series, OPTIONS).notes if "class" in note] == list(said)


TORN = "it is one slice, as are 4 other series like it: a volume may have been torn apart"


@pytest.mark.parametrize(
    ("keywords", "slices", "said"),
    [
        (("SeriesInstanceUID",), 5, TORN),
        (("StudyInstanceUID",), 5, TORN),
        (("StudyInstanceUID", "SeriesInstanceUID"), 5, TORN),
        (("SeriesInstanceUID", "FrameOfReferenceUID"), 5, TORN),
        (("SeriesInstanceUID", "PatientID"), 5, ""),
        (("SeriesInstanceUID",), 2, ""),
        ((), 5, ""),
    ],
)
def test_a_volume_of_which_each_image_is_a_series_is_told(
    tmp_path: Path, keywords: tuple[str, ...], slices: int, said: str
) -> None:
    def edit(dataset, k):  # type: ignore[no-untyped-def]
        for keyword in keywords:
            setattr(dataset, keyword, f"1.2.826.0.1.3680043.8.498.{k + 1}.7")

    write_series(tmp_path, VOXELS[:, :, :slices], edit=edit)
    found = notes(tmp_path)
    assert found == [(said,) if said else ()] * (slices if keywords else 1)


def test_single_slices_of_other_planes_or_sizes_are_no_torn_volume(tmp_path: Path) -> None:
    for number, orientation in enumerate((AXIAL, CORONAL, SAGITTAL), start=2):
        write_series(tmp_path, VOXELS[:, :, :1], identity=Identity().another_series(number), orientation=orientation)
    assert notes(tmp_path) == [(), (), ()]
