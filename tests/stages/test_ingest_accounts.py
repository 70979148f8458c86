"""Every file and every label of a messy export ends in one place: a case, or a row that says why."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from phantoms.dicom_objects import truncate, write_companion, write_radiograph
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.exports import content_of, write_labels, write_patient, yes_no
from phantoms.ingesting import COUNT, manifest_of, rows_of, run

from pipeline.cohort.cross_check import Checking
from pipeline.cohort.describe import SeriesSummary
from pipeline.cohort.units import CaseCandidate, Units
from pipeline.domain.selection import Selection
from pipeline.domain.series import Discovery, Series
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, LabelFileError, ManifestError, RejectedInput
from pipeline.readers.options import ReadOptions
from pipeline.stages import ingest


def make_mess(folder: Path) -> dict[str, Path]:
    """Add one of each to an export of DICOM studies."""
    scans = folder / "scans"
    gap, cut = write_patient(scans / "gap", 201), write_patient(scans / "cut", 202)
    gap.pop(1).unlink()
    truncate(cut[2], 40)
    two = write_patient(scans / "two", 203)
    write_series(scans / "two b", make_voxels((6, 5, 4), seed=1), identity=Identity.numbered(203).another_series(2))
    write_patient(scans / "unlabelled", 204)
    first = write_patient(scans / "visit1", 205)
    write_patient(scans / "visit2", 205, study_uid="1.2.3.205", series_uid="1.2.3.205.1", frame_uid="1.2.3.205.9")
    (scans / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(64))
    (scans / "note.dcm").write_text("call me")
    write_companion(scans / "report.dcm", "SR", identity=Identity.numbered(1))
    copy = shutil.copy(first[0], scans / "copy.dcm")
    ids = [f"PAT-{n:04d}" for n in (*range(1, COUNT + 1), 201, 202, 203, 205, 300)]
    write_labels(folder / "labels.csv", {"PatientID": ids, "lesion": yes_no(len(ids))})
    return {"gap": gap[0], "cut": cut[2], "cut_rest": cut[0], "two": two[0], "first": first[0], "copy": Path(copy)}


def test_every_file_of_a_messy_folder_ends_in_one_place(dicom: Path) -> None:
    mess = make_mess(dicom)
    outcome = run(dicom)
    assert outcome.exit_code == EXIT_SOME_REJECTED
    files = [path for path in (dicom / "scans").rglob("*") if path.is_file()]
    rows = {Path(row["path"]): row for row in rows_of(dicom, "files.csv")}
    assert set(rows) == set(files)
    counts = json.loads((dicom / "out" / "cohort.json").read_text())["counts"]
    assert counts["inputs"] == len(files) == counts["used"] + counts["skipped"] + counts["rejected"]
    assert counts["cases"] == len(manifest_of(dicom).cases) == COUNT
    codes = {name: rows[path]["code"] for name, path in mess.items()}
    assert codes["gap"] == "GAP" and codes["cut"] == "TRUNCATED" and codes["cut_rest"] == "INCOMPLETE"
    assert codes["two"] == "AMBIGUOUS_SERIES"
    assert {codes["first"], codes["copy"]} == {"AMBIGUOUS_LABEL", "DUPLICATE"}
    ended = Counter(row["code"] for row in rows.values())
    assert ended["NO_LABEL"] == 4 and ended["NOT_AN_IMAGE"] == 2 and ended["BAD_HEADER"] == 1
    text = "\n".join(outcome.lines)
    assert f"{len(files)} files: {counts['used']} used" in text and "GAP" in text and "resdx plan" in text


def test_labels_and_scans_that_do_not_cover_each_other_are_listed(dicom: Path) -> None:
    make_mess(dicom)
    run(dicom)
    problems = {row["line"]: row for row in rows_of(dicom, "labels.rejections.csv")}
    assert problems["26"]["problem"] == "NO_SCAN" and problems["26"]["cell"] == "PAT-0300"
    assert problems["24"]["problem"] == "SCAN_REFUSED"  # its two series leave no choice
    assert problems["25"]["problem"] == "AMBIGUOUS"


@pytest.mark.parametrize("extra", ["a row without a scan", "a scan without a row"])
def test_either_gap_of_coverage_makes_exit_status_3(dicom: Path, extra: str) -> None:
    count = COUNT + 1 if extra == "a row without a scan" else COUNT - 1
    ids = [f"PAT-{n:04d}" for n in range(1, count + 1)]
    write_labels(dicom / "labels.csv", {"PatientID": ids, "lesion": yes_no(count)})
    assert run(dicom).exit_code == EXIT_SOME_REJECTED


def test_unlabelled_scans_are_not_read(dicom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"PAT-{n:04d}" for n in range(1, 13)]
    write_labels(dicom / "labels.csv", {"PatientID": ids, "lesion": yes_no(12)})
    read: list[str] = []
    describe = ingest.describe

    def counted(series: Series, options: ReadOptions, shown: float, checking: Checking) -> SeriesSummary:
        read.append(series.identity.patient_id)
        return describe(series, options, shown, checking)

    monkeypatch.setattr(ingest, "describe", counted)
    run(dicom)
    assert sorted(read) == ids


def test_lost_zeros_leave_no_case_and_say_so(tmp_path: Path) -> None:
    for number in range(1, 5):
        write_patient(tmp_path / "scans" / str(number), number, patient_id=f"00{number}")
    write_labels(tmp_path / "labels.csv", {"PatientID": list("1234"), "lesion": yes_no(4)})
    with pytest.raises(ManifestError, match=r"(?s)16 x NO_LABEL.*leading zeros") as raised:
        run(tmp_path)
    assert "003" not in str(raised.value)
    assert {row["problem"] for row in rows_of(tmp_path, "labels.rejections.csv")} == {"LEADING_ZEROS"}


def test_a_workbook_with_text_ids_joins_and_one_with_numbers_does_not(tmp_path: Path) -> None:
    from openpyxl import Workbook

    for number in range(1, 9):
        write_patient(tmp_path / "scans" / str(number), number, patient_id=f"00{number}")
    book = Workbook()
    assert book.active is not None
    book.active.append(["Patient ID", "lesion"])
    for number, answer in enumerate(yes_no(8), start=1):
        book.active.append([f"00{number}" if number < 8 else number, answer])
    book.save(tmp_path / "labels.xlsx")
    outcome = run(
        tmp_path, labels={"file": str(tmp_path / "labels.xlsx")}, split={"train": 0.5, "validation": 0.25, "test": 0.25}
    )
    assert outcome.exit_code == EXIT_SOME_REJECTED and len(manifest_of(tmp_path).cases) == 7
    (problem,) = rows_of(tmp_path, "labels.rejections.csv")
    assert (problem["line"], problem["problem"], problem["cell"]) == ("9", "LEADING_ZEROS", "8")


def test_one_view_that_cannot_be_read_takes_its_case_with_it(dicom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = []
    for number, view in enumerate(("MLO", "CC"), start=1):
        who = Identity.numbered(50).another_series(number)
        stored = make_voxels((8, 6, 1), seed=number)[:, :, 0]
        path = dicom / "scans" / f"{view}.dcm"
        views.append(write_radiograph(path, stored, modality="MG", view=view, identity=who, instance=view))
    ids = [f"PAT-{n:04d}" for n in (*range(1, COUNT + 1), 50)]
    write_labels(dicom / "labels.csv", {"PatientID": ids, "lesion": yes_no(COUNT + 1)})
    describe, units = ingest.describe, ingest.cases_of

    def refuse_cc(series: Series, options: ReadOptions, shown: float, checking: Checking) -> SeriesSummary:
        if series.attributes.get("view") == "CC":
            raise RejectedInput("CORRUPT", "a decoder refuses it")
        return describe(series, options, shown, checking)

    def join_views(discovery: Discovery, selection: Selection) -> Units:
        found = units(discovery, selection)
        both = tuple(one.series for one in found.refusals)
        return Units((*found.candidates, CaseCandidate("50", both[0].identity, both, "L")), ())

    monkeypatch.setattr(ingest, "describe", refuse_cc)
    monkeypatch.setattr(ingest, "cases_of", join_views)
    assert run(dicom).exit_code == EXIT_SOME_REJECTED
    codes = {Path(row["path"]): row["code"] for row in rows_of(dicom, "files.csv")}
    assert [codes[path] for path in views] == ["INCOMPLETE", "CORRUPT"]
    assert len(manifest_of(dicom).cases) == COUNT


def test_a_study_that_is_refused_leaves_its_patients_label_without_a_scan(dicom: Path) -> None:
    later = write_patient(dicom / "scans" / "later", 7, study_uid="1.2.3.7", series_uid="1.2.3.7.1")
    later[len(later) // 2].unlink()  # of a patient's two studies one has a gap: which of them does the label mean?

    assert run(dicom).exit_code == EXIT_SOME_REJECTED

    assert len(manifest_of(dicom).cases) == COUNT - 1
    codes = Counter(row["code"] for row in rows_of(dicom, "files.csv"))
    assert codes["AMBIGUOUS_LABEL"] and codes["GAP"] == 1


def test_two_rows_that_give_one_file_different_modalities_stop(nifti: Path) -> None:
    rows = list(csv.DictReader((nifti / "labels.csv").open()))
    rows = [{**row, "kind": "CT"} for row in rows] + [{**rows[0], "kind": "MR"}]
    write_labels(nifti / "labels.csv", {name: [row[name] for row in rows] for name in rows[0]})
    with pytest.raises(LabelFileError, match=f"lines 2, {COUNT + 2}: the same id"):
        run(nifti, labels={"modality_column": "kind"})
    rows[-1]["kind"] = "CT"
    write_labels(nifti / "labels.csv", {name: [row[name] for row in rows] for name in rows[0]})
    assert run(nifti, labels={"modality_column": "kind"}).exit_code == EXIT_OK


def test_same_in_same_out_and_workers_change_nothing(dicom: Path) -> None:
    make_mess(dicom)
    lines = run(dicom).lines
    first = content_of(dicom / "out")
    assert run(dicom, processes=2).lines == lines
    assert content_of(dicom / "out") == first
    tables = ("files.csv", "rejections.csv", "labels.rejections.csv")
    ends = ("csv", "json", "html", "report.json", "thumbnails.npz", *tables)
    assert {f"cohort.{end}" for end in ends} == set(first)
