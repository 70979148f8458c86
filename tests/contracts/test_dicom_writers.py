"""What every writer of DICOM objects must do, with dciodvfy as judge of the objects."""

import zipfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from phantoms.dicom_reports import FINDINGS, SOURCES, dciodvfy, make_report, make_sheet, source_files, withheld, write
from phantoms.dicom_series import Identity, make_voxels, without, write_series
from phantoms.niftis import nifti
from phantoms.pictures import png
from pydicom import dcmread

from pipeline.config import Part, parts
from pipeline.domain.series import SourceFile
from pipeline.errors import DiskFull, RejectedInput
from pipeline.writers.dicom_objects import CaseReport
from pipeline.writers.dicom_writing import DicomObjectWriter

PARTS: dict[str, type[Part]] = {name: part for name, part in parts("pipeline.writers") if name.startswith("dicom_")}

EXPECTED = {
    "Unrecognized defined term <99RESDX>": "a private scheme is none of the verifier's, and is identified",
    "needed to build DICOMDIR": "StudyID and the like, empty in the source",
    "attribute <Laterality>": "type 2C and not known: the source does not say",
}
"""Warnings of the verifier that are to be, and why."""


@pytest.fixture(params=sorted(PARTS))
def writer(request: pytest.FixtureRequest) -> DicomObjectWriter:
    made: DicomObjectWriter = PARTS[request.param]().build()  # type: ignore[attr-defined]
    return made


@pytest.fixture
def report(tmp_path: Path) -> CaseReport:
    return make_report(SOURCES["CT series"](tmp_path / "scans"))


def contents(writer: DicomObjectWriter, folder: Path, report: CaseReport) -> dict[str, bytes]:
    written = write(writer, folder, report)
    assert sorted(folder.iterdir()) == sorted(written.paths)
    return {path.name: path.read_bytes() for path in written.paths}


def uids(folder: Path) -> set[str]:
    found = [dcmread(path) for path in folder.iterdir()]
    return {uid for one in found for uid in (one.SOPInstanceUID, one.SeriesInstanceUID)}


@pytest.mark.parametrize("out_of_scope", [False, True], ids=["answered", "withheld"])
@pytest.mark.parametrize("source", SOURCES)
def test_dciodvfy_finds_no_error(writer: DicomObjectWriter, source: str, out_of_scope: bool, tmp_path: Path) -> None:
    report = make_report(SOURCES[source](tmp_path / "scans"))
    written = write(writer, tmp_path / "out", withheld(report) if out_of_scope else report)
    for path in written.paths:
        said = dciodvfy(path)
        assert {"SCImage", "Comprehensive3DSR"} & set(said), "it did not judge the object"
        assert not [line for line in said if line.startswith(("Error", "Abort"))]
        warned = [line for line in said if line.startswith("Warning")]
        assert not [line for line in warned if not any(known in line for known in EXPECTED)]
    assert written.paths or (out_of_scope and "withheld" in written.reason)


def test_dciodvfy_does_find_errors(tmp_path: Path, report: CaseReport) -> None:
    written = write(PARTS["dicom_sr"]().build(), tmp_path / "out", report)  # type: ignore[attr-defined]
    dataset = dcmread(written.paths[0])
    del dataset.CompletionFlag
    dataset.save_as(tmp_path / "bad.dcm")
    assert any(line.startswith("Error") and "CompletionFlag" in line for line in dciodvfy(tmp_path / "bad.dcm"))


def test_an_equal_report_gives_equal_bytes(writer: DicomObjectWriter, tmp_path: Path, report: CaseReport) -> None:
    first = contents(writer, tmp_path / "a", report)
    sheets = {name: np.asfortranarray(sheet) for name, sheet in reversed(report.sheets.items())}
    again = replace(report, sheets=sheets, sources=[report.sources[0], *report.sources[:0:-1]])
    assert contents(writer, tmp_path / "b", again) == first


@pytest.mark.parametrize("change", ["made", "model", "prediction", "engine"])
def test_what_changes_the_content_changes_every_uid(
    writer: DicomObjectWriter, change: str, tmp_path: Path, report: CaseReport
) -> None:
    other = {
        "made": replace(report, made=report.made + timedelta(seconds=1)),
        "model": replace(report, model=report.model.model_copy(update={"digest": "e" * 64})),
        "engine": replace(report, model=report.model.model_copy(update={"engine": "onnx"})),
        "prediction": replace(report, prediction=report.prediction.model_copy(update={"notes": ()})),
    }[change]
    write(writer, tmp_path / "a", report)
    write(writer, tmp_path / "b", other)
    assert not uids(tmp_path / "a") & uids(tmp_path / "b")


def test_files_are_named_after_the_pseudonym_alone(
    writer: DicomObjectWriter, tmp_path: Path, report: CaseReport
) -> None:
    names = list(contents(writer, tmp_path / "out", report))
    assert names
    assert all(name.startswith("C7F3_") for name in names)
    identity = Identity()
    for told in (identity.patient_id, "Phantom", identity.accession, identity.study_uid, identity.birth_date):
        assert not [name for name in names if told in name]


def test_a_failure_leaves_the_old_file(
    writer: DicomObjectWriter, tmp_path: Path, report: CaseReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(writer, tmp_path / "out", report)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.atomic._fsync", full)
    with pytest.raises(DiskFull, match="No space"):
        write(writer, tmp_path / "out", replace(report, made=report.made + timedelta(days=1)))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("kind", ["nifti", "picture", "both", "nothing"])
def test_sources_that_are_no_dicom_are_refused_with_a_reason(
    writer: DicomObjectWriter, kind: str, tmp_path: Path, report: CaseReport
) -> None:
    (tmp_path / "a.nii").write_bytes(nifti())
    (tmp_path / "a.png").write_bytes(png(make_voxels((4, 4, 3), high=255, dtype=np.uint8), 2))
    volume, picture = source_files([tmp_path / "a.nii", tmp_path / "a.png"])
    sources: dict[str, list[SourceFile]] = {
        "nifti": [volume],
        "picture": [picture],
        "both": [*report.sources, volume],
        "nothing": [],
    }
    written = write(writer, tmp_path / "out", replace(report, sources=sources[kind]))
    assert written.paths == ()
    assert ("no source file" if kind == "nothing" else "is no DICOM") in written.reason
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"])
def test_a_source_that_cannot_be_referred_to_is_refused(
    writer: DicomObjectWriter, keyword: str, tmp_path: Path, report: CaseReport
) -> None:
    paths = write_series(tmp_path / "cut", make_voxels((4, 4, 2)), edit=without(keyword, slices=[1]))
    written = write(writer, tmp_path / "out", replace(report, sources=source_files(paths)))
    assert written.paths == ()
    assert keyword in written.reason


def test_two_patients_are_never_filed_under_one(writer: DicomObjectWriter, tmp_path: Path, report: CaseReport) -> None:
    other = write_series(tmp_path / "other", make_voxels((4, 4, 2)), identity=Identity.numbered(9))
    written = write(writer, tmp_path / "out", replace(report, sources=[*report.sources, *source_files(other)]))
    assert written.paths == ()
    assert "several patients" in written.reason
    assert "PAT-" not in written.reason


def test_a_source_that_changed_is_not_reported_on(
    writer: DicomObjectWriter, tmp_path: Path, report: CaseReport
) -> None:
    path = report.sources[1].path
    path.write_bytes(path.read_bytes().replace(b"PAT-0001", b"PAT-0002"))
    with pytest.raises(RejectedInput, match="not the one that was discovered"):
        write(writer, tmp_path / "out", report)


def test_sources_in_an_archive_give_the_same_bytes(
    writer: DicomObjectWriter, tmp_path: Path, report: CaseReport
) -> None:
    with zipfile.ZipFile(tmp_path / "EXPORT.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in report.sources:
            archive.write(file.path, f"DIR/{file.path.name}")
    inside = [replace(file, path=tmp_path / "EXPORT.zip" / "DIR" / file.path.name) for file in report.sources]
    packed = contents(writer, tmp_path / "b", replace(report, sources=inside))
    assert packed == contents(writer, tmp_path / "a", report)


def test_identifiers_come_from_the_source_and_gaps_stay_gaps(writer: DicomObjectWriter, tmp_path: Path) -> None:
    for source, name, birth, timezone in (
        ("MR series in Japanese", "Yamada^Tarou=山田^太郎", "19630101", "-0530"),
        ("nothing but UIDs", "", "", None),
    ):
        report = make_report(SOURCES[source](tmp_path / source))
        for path in write(writer, tmp_path / "out", report).paths:
            made, origin = dcmread(path), dcmread(report.sources[0].path)
            assert str(made.PatientName) == name
            assert made.PatientBirthDate == birth
            assert made.PatientID == origin.PatientID
            assert made.StudyInstanceUID == origin.StudyInstanceUID
            assert made.SpecificCharacterSet == "ISO_IR 192"
            assert made.SeriesInstanceUID != origin.SeriesInstanceUID
            assert made.get("TimezoneOffsetFromUTC") == timezone
            clock = ("20260101", "213405.000678") if timezone else ("20260102", "030405.000678")
            assert (made.ContentDate, made.ContentTime) == clock
            assert (made.InstanceCreationDate, made.SeriesTime) == clock


def test_findings_are_all_there(report: CaseReport) -> None:
    assert [finding.name for finding in FINDINGS] == list(report.sheets)
    assert make_sheet(0).size % 2
