"""The second reading: agrees where ours is right, refuses where ours is made wrong, notes what it cannot read."""

import csv
import pickle
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from oddities.row import judge
from oddities.table import phantoms
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import CORONAL, make_voxels, write_series
from phantoms.exports import write_dicom_export, write_labels, write_nifti, yes_no
from phantoms.readings import read_folder
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from pipeline.cohort.cross_check import AGREES, NOBODY, UNREAD, Checking, CrossCheckSettings, cross_checked, is_drawn
from pipeline.cohort.describe import describe
from pipeline.cohort.tables import load_manifest
from pipeline.domain.codes import Code
from pipeline.domain.geometry import Geometry
from pipeline.domain.series import Series, SourceFile
from pipeline.domain.volume import Volume
from pipeline.errors import EXIT_SOME_REJECTED, RejectedInput, UsageError
from pipeline.readers import second_opinion
from pipeline.readers.loading import load
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read
from pipeline.stages import ingest
from pipeline.stages.outcome import Outcome
from pipeline.workers import imap

pytest.importorskip("SimpleITK")

OPTIONS = ReadOptions(modality="MR")
Wrong = Callable[[Volume], Volume]


def moved(volume: Volume, change: list[tuple[int, int, float]]) -> Volume:
    matrix = volume.geometry.matrix
    for row, column, by in change:
        matrix[row, column] += by
    return replace(volume, geometry=Geometry.from_matrix(volume.geometry.shape, matrix, volume.geometry.unit))


WRONG: dict[str, Wrong] = {
    "mirrored": lambda volume: replace(volume, voxels=np.ascontiguousarray(volume.voxels[:, ::-1])),
    "upside down": lambda volume: replace(volume, voxels=np.ascontiguousarray(volume.voxels[:, :, :, ::-1])),
    "not rescaled": lambda volume: replace(volume, voxels=(volume.voxels + 1024) / 2),
    "one voxel": lambda volume: replace(
        volume, voxels=volume.voxels + (np.arange(volume.voxels.size) == 77).reshape(volume.voxels.shape)
    ),
    "beside it": lambda volume: moved(volume, [(1, 3, 0.002)]),
    "thicker": lambda volume: moved(volume, [(1, 2, 0.01)]),
    "a slice less": lambda volume: Volume(
        np.ascontiguousarray(volume.voxels[..., 1:]), Geometry.from_matrix((7, 6, 4), np.eye(4)), "CT"
    ),
}


def scaled_ct(folder: Path) -> None:
    position = (-3.5, 20.25, -7.0)
    spacing = (0.7, 0.8, 2.5)
    voxels = make_voxels((7, 6, 5))
    write_series(folder, voxels, orientation=CORONAL, position=position, spacing=spacing, slope=2.0, intercept=-1024.0)


def note_of(folder: Path, wrong: Wrong = lambda volume: volume) -> str:
    series, volume = read_folder(folder, OPTIONS).volumes[0]
    return cross_checked(series, wrong(volume), OPTIONS, load)


def test_a_right_reading_agrees(tmp_path: Path) -> None:
    scaled_ct(tmp_path)
    assert note_of(tmp_path) == AGREES


def test_the_same_volume_stored_from_the_other_end_agrees(tmp_path: Path) -> None:
    scaled_ct(tmp_path)

    def turned(volume: Volume) -> Volume:
        step = np.diag([1.0, 1.0, -1.0, 1.0])
        step[2, 3] = 4
        geometry = Geometry.from_matrix(volume.geometry.shape, volume.geometry.matrix @ step)
        return replace(volume, voxels=np.ascontiguousarray(volume.voxels[..., ::-1]), geometry=geometry)

    assert note_of(tmp_path, turned) == AGREES


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_wrong_reading_is_refused(tmp_path: Path, wrong: Wrong) -> None:
    scaled_ct(tmp_path)
    with pytest.raises(RejectedInput, match="SimpleITK reads it otherwise") as raised:
        note_of(tmp_path, wrong)
    assert raised.value.code == Code.CROSS_CHECK


@pytest.mark.parametrize("kind", ["JPEG 2000", "JPEG-LS", "MONOCHROME1", "radiograph", "RGB", "NIfTI", "picture"])
def test_every_kind_that_both_read_agrees(tmp_path: Path, kind: str) -> None:
    voxels = make_voxels((40, 36, 3))
    if kind.startswith("JPEG"):
        write_series(tmp_path, voxels, transfer_syntax=JPEG2000Lossless if "2000" in kind else JPEGLSLossless)
    elif kind == "MONOCHROME1":
        write_series(tmp_path, voxels, modality="MR", photometric=kind, slope=3.0, intercept=5.0)
    elif kind == "radiograph":
        write_radiograph(tmp_path / "a.dcm", voxels[:, :, 0], photometric="MONOCHROME1")
    elif kind == "RGB":
        colour = make_voxels((40, 36, 3 * 3), high=255, dtype=np.uint8).reshape(40, 36, 3, 3)
        write_series(tmp_path, colour, modality="OT", photometric="RGB", slope=None, intercept=None)
    elif kind == "NIfTI":
        write_nifti(tmp_path / "a.nii.gz", seed=3)
    else:
        Image.fromarray(make_voxels((9, 8, 3), high=255, dtype=np.uint8)).save(tmp_path / "a.png")
    assert note_of(tmp_path) == AGREES
    if kind != "picture":
        with pytest.raises(RejectedInput, match="voxels differ"):
            note_of(tmp_path, lambda volume: replace(volume, voxels=np.ascontiguousarray(volume.voxels[:, ::-1])))


def test_what_it_cannot_read_is_noted(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "a.dcm", make_frames(make_voxels((7, 6, 5))))
    assert note_of(tmp_path).startswith(f"{UNREAD}it does not tell the positions")


@pytest.mark.parametrize("name", ["RGBA.png", "LA.png", "RGB.jpg"])
def test_alpha_and_turned_pictures_are_noted_and_not_refused(tmp_path: Path, name: str) -> None:
    mode, _, _ = name.partition(".")
    picture = Image.fromarray(make_voxels((9, 8, 4), high=255, dtype=np.uint8), "RGBA").convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6 if name.endswith("jpg") else 1
    picture.save(tmp_path / name, exif=exif)
    assert note_of(tmp_path).startswith(UNREAD)


@pytest.mark.parametrize("good", [0, 2, 7])
@pytest.mark.parametrize("error", [MemoryError(), ImportError("cannot map the library")])
def test_no_memory_for_the_second_reading_costs_no_case(tmp_path: Path, good: int, error: Exception) -> None:
    """Neither while headers are read, of 5 files, nor while their slices are."""
    scaled_ct(tmp_path)
    series, volume = read_folder(tmp_path, OPTIONS).volumes[0]
    left = iter(range(good))

    def loading(file: SourceFile) -> bytes:
        if next(left, None) is None:
            raise error
        return load(file)

    assert cross_checked(series, volume, OPTIONS, loading) == f"{UNREAD}{second_opinion.NO_MEMORY}"


def test_itk_without_memory_costs_no_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import SimpleITK

    def failing(_: object) -> None:
        raise RuntimeError("itkImportImageContainer.hxx:179:\nFailed to allocate memory for image.")

    scaled_ct(tmp_path)
    monkeypatch.setattr(SimpleITK.ImageFileReader, "Execute", failing)
    assert note_of(tmp_path) == f"{UNREAD}{second_opinion.NO_MEMORY}"


@pytest.mark.parametrize("files", [0, 3, 8])
def test_no_time_for_the_second_reading_costs_no_case(tmp_path: Path, files: int) -> None:
    scaled_ct(tmp_path)
    series, volume = read_folder(tmp_path, OPTIONS).volumes[0]
    clock = iter([*[0.0] * files, *[2.0] * 20])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second_opinion, "monotonic", lambda: next(clock))
        assert cross_checked(series, volume, OPTIONS, load, 1.0) == f"{UNREAD}{second_opinion.NO_TIME}"


def test_one_slice_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = second_opinion._opened
    held: list[weakref.ref[object]] = []

    def watched(*given: object, whole: bool) -> object:
        assert not any(one() is not None for one in held), "the slice before is still held"
        image = opened(*given, whole=whole)  # type: ignore[arg-type]
        held.extend([weakref.ref(image)] if whole else [])
        return image

    monkeypatch.setattr(second_opinion, "_opened", watched)
    scaled_ct(tmp_path)
    assert note_of(tmp_path) == AGREES and len(held) == 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
def test_the_library_takes_nothing_of_the_memory_of_a_case(tmp_path: Path) -> None:
    """Its code alone would not fit into this limit."""
    scaled_ct(tmp_path)
    ((series, _),) = read_folder(tmp_path, OPTIONS).volumes
    reading = partial(describe, options=OPTIONS, checking=Checking(2**60))  # nothing of this module, which loads it
    (read,) = imap(reading, [series], processes=1, timeout_seconds=100.0, memory_bytes=128 * 1024**2)
    assert read.value is not None and read.value.notes == (AGREES,)


@pytest.mark.parametrize(("limit", "loaded"), [(NOBODY, 0), (5, 1)])
def test_who_checks_nothing_does_not_load_the_library(monkeypatch: pytest.MonkeyPatch, limit: int, loaded: int) -> None:
    loads: list[None] = []
    monkeypatch.setattr("pipeline.cohort.cross_check.load_library", lambda: loads.append(None))
    assert pickle.loads(pickle.dumps(Checking(limit, 3.0))) == Checking(limit, 3.0)
    assert len(loads) == loaded


def test_a_sample_is_drawn_and_none_without_being_asked() -> None:
    series = [Series("dicom", f"1.2.{number}", (), "CT") for number in range(40)]
    for settings, expected in ((("simpleitk", 7), 7), (("simpleitk", 0), 40), (("simpleitk", 99), 40), (("", 7), 0)):
        limit = CrossCheckSettings(reader=settings[0], series=settings[1]).limit(series)  # type: ignore[arg-type]
        assert sum(is_drawn(one, limit) for one in series) == expected


def run(folder: Path, **settings: object) -> Outcome:
    finding = {"name": "lesion", "column": "lesion", "kind": "binary", "positive": "yes"}
    base = {
        "scans": str(folder / "scans"),
        "out": str(folder / "out" / "cohort.csv"),
        "labels": {"file": str(folder / "labels.csv"), "findings": [finding]},
        "processes": 0,
        "cross_check": {"reader": "simpleitk"},
    }
    return ingest.run(ingest.Config.from_mapping(base | settings))


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    write_dicom_export(tmp_path / "scans", range(1, 13))
    write_labels(tmp_path / "labels.csv", {"PatientID": [f"PAT-{n:04d}" for n in range(1, 13)], "lesion": yes_no(12)})
    return tmp_path


def test_ingest_refuses_what_a_wrong_reader_of_ours_made(dicom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mirroring(series: Series, *rest: object) -> Volume:
        volume = read(series, *rest)  # type: ignore[arg-type]
        is_hit = "/003/" in series.files[0].path.as_posix()
        return WRONG["mirrored"](volume) if is_hit else volume

    monkeypatch.setattr("pipeline.cohort.describe.read", mirroring)
    outcome = run(dicom)
    assert outcome.exit_code == EXIT_SOME_REJECTED
    assert any("12 series were read again with SimpleITK, 11 agree, 1 are refused" in line for line in outcome.lines)
    with (dicom / "out" / "cohort.rejections.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["code"] for row in rows if "/003/" in row["path"]} >= {"CROSS_CHECK"}
    assert all("/003/" in row["path"] for row in rows)
    manifest = load_manifest(dicom / "out" / "cohort.csv")
    assert len(manifest.cases) == 11 and all(AGREES in case.notes for case in manifest.cases)


def test_ingest_keeps_cases_that_there_is_no_time_to_check(dicom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cohort.describe.CHECK_SHARE", 0.0)
    outcome = run(dicom)
    manifest = load_manifest(dicom / "out" / "cohort.csv")
    assert len(manifest.cases) == 12
    assert all(f"{UNREAD}{second_opinion.NO_TIME}" in case.notes for case in manifest.cases)
    assert any("0 agree, 0 are refused (CROSS_CHECK); 12 could not be read" in line for line in outcome.lines)


def test_without_simpleitk_the_extra_is_named(dicom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cohort.cross_check.is_installed", lambda: False)
    with pytest.raises(UsageError, match=r"SimpleITK, which is not installed") as raised:
        run(dicom)
    assert "resdx[crosscheck]" in str(raised.value)
    assert not (dicom / "out").exists()


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "volumes", "unread"),
    [
        ("ct_philips_axial_j2k", 1, 0),
        ("mr_ge_epi_FFS", 5, 0),
        ("mr_ge_localizer_3plane", 3, 0),
        ("mr_philips_dual_echo", 4, 0),
        ("mr_philips_enhanced", 2, 2),
        ("mr_siemens_multifragment", 1, 0),
    ],
)
def test_real_series_agree(shared_data: Path, name: str, volumes: int, unread: int) -> None:
    found = read_folder(shared_data / "dicom_series" / name / "In").volumes
    notes = [cross_checked(series, volume, ReadOptions(), load) for series, volume in found]
    assert len(notes) == volumes and notes.count(AGREES) == volumes - unread
    for series, volume in found[: 1 if not unread else 0]:
        with pytest.raises(RejectedInput, match="SimpleITK reads it otherwise"):
            cross_checked(series, WRONG["mirrored"](volume), ReadOptions(), load)


@pytest.mark.parametrize("name", ["a table of 8 bits in OW", "PNG, turned"])
def test_what_simpleitk_reads_otherwise_by_design_is_noted_and_not_refused(tmp_path: Path, name: str) -> None:
    phantom = next(phantom for _, phantom in phantoms() if phantom.name == name)
    assert judge(phantom, tmp_path).right
    ((series, volume),) = read_folder(tmp_path, phantom.options).volumes
    assert cross_checked(series, volume, phantom.options, load).startswith(UNREAD)


@pytest.mark.parametrize(
    ("step", "least"), [pytest.param(8, 8, id="some"), pytest.param(1, 90, id="all", marks=pytest.mark.long)]
)
def test_simpleitk_agrees_with_every_phantom_that_it_can_read(tmp_path: Path, step: int, least: int) -> None:
    """An oracle that shares nothing with the writers of the phantoms, nor with our readers."""
    told = []
    for number, (_, phantom) in enumerate(list(phantoms())[::step]):
        folder = tmp_path / str(number)
        folder.mkdir()
        if phantom.write(folder) is not None:
            found = read_folder(folder, phantom.options).volumes
            told += [cross_checked(series, volume, phantom.options, load) for series, volume in found]
    assert told.count(AGREES) >= least
