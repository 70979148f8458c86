"""The ingest command: labels, splits, refusals, and what it leaves on disk."""

import csv
import json
import re
import shutil
import signal
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from phantoms.dicom_objects import truncate, write_companion, write_radiograph
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.exports import (
    content_of,
    write_dicom_export,
    write_labels,
    write_nifti,
    write_nifti_export,
    write_patient,
    yes_no,
)

from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.cross_check import Checking
from pipeline.cohort.describe import SeriesSummary
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.cohort.thumbnails import kept_thumbnails
from pipeline.cohort.units import CaseCandidate, Units
from pipeline.config import Settings, explain
from pipeline.domain.case import Split
from pipeline.domain.codes import EXPLANATIONS
from pipeline.domain.manifest import Manifest
from pipeline.domain.selection import Selection
from pipeline.domain.series import Discovery, Series
from pipeline.errors import (
    EXIT_OK,
    EXIT_SOME_REJECTED,
    ConfigError,
    LabelFileError,
    LeakError,
    ManifestError,
    RejectedInput,
    StoppedBySignal,
    UsageError,
)
from pipeline.readers.options import ReadOptions
from pipeline.stages import ingest, train
from pipeline.stages.outcome import Outcome

LESION = {"name": "lesion", "column": "lesion", "kind": "binary", "positive": "yes"}
COUNT = 20


def run(folder: Path, **settings: object) -> Outcome:
    """Ingest ``scans`` of a folder with its ``labels.csv`` into ``out/cohort.csv``, without worker processes."""
    labels = {"file": str(folder / "labels.csv"), "findings": [LESION], **settings.pop("labels", {})}  # type: ignore[dict-item]
    base = {"scans": str(folder / "scans"), "out": str(folder / "out" / "cohort.csv"), "labels": labels, "processes": 0}
    return ingest.run(ingest.Config.from_mapping(base | settings))


def manifest_of(folder: Path) -> Manifest:
    return load_manifest(folder / "out" / "cohort.csv")


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "out" / f"cohort.{name}").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    names = write_nifti_export(tmp_path / "scans", COUNT)
    patients = [f"p{n // 2}" for n in range(COUNT)]
    write_labels(tmp_path / "labels.csv", {"path": names, "patient_id": patients, "lesion": yes_no(COUNT)})
    return tmp_path


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    write_dicom_export(tmp_path / "scans", range(1, COUNT + 1))
    ids = [f"PAT-{n:04d}" for n in range(1, COUNT + 1)]
    write_labels(tmp_path / "labels.csv", {"PatientID": ids, "lesion": yes_no(COUNT)})
    return tmp_path


def test_nifti_files_get_patient_label_and_modality_from_their_row(nifti: Path) -> None:
    outcome = run(nifti, modality="MR")
    assert outcome.exit_code == EXIT_OK, outcome.lines
    manifest, names = manifest_of(nifti), Pseudonyms.open(None)
    assert len(manifest.cases) == COUNT and len({case.patient for case in manifest.cases}) == COUNT // 2
    by_name = {case.case: case for case in manifest.cases}
    first = by_name[names.case("1/scan01.nii.gz")]
    assert first.labels == {"lesion": "yes"} and first.patient == names.patient("p0")
    (series,) = first.series
    assert (series.modality, series.shape, series.spacing) == ("MR", (6, 5, 4), (1.0, 1.0, 2.0))
    assert {case.split for case in manifest.cases} == set(Split) and not manifest.patients_in_two_splits()


def test_a_case_is_read_back_as_it_was_ingested(nifti: Path) -> None:
    run(nifti, modality="MR")
    reader = CaseReader(load_files(nifti / "out" / "cohort.csv"), ReadOptions())
    case = manifest_of(nifti).cases[0]
    assert reader.read(case).geometry.shape == case.series[0].shape


def test_a_column_tells_the_modality_of_each_file(nifti: Path) -> None:
    rows = list(csv.DictReader((nifti / "labels.csv").open()))
    told = {name: [row[name] for row in rows] for name in rows[0]}
    write_labels(nifti / "labels.csv", told | {"kind": ["CT" if n < 8 else "MR" for n in range(COUNT)]})
    assert run(nifti, labels={"modality_column": "kind"}).exit_code == EXIT_OK
    assert Counter(case.series[0].modality for case in manifest_of(nifti).cases) == {"CT": 8, "MR": COUNT - 8}
    run(nifti, labels={"modality_column": "kind"}, select={"modality": ["CT"]})
    assert len(manifest_of(nifti).cases) == 8


def test_without_any_modality_every_file_is_refused_and_says_why(nifti: Path) -> None:
    with pytest.raises(ManifestError, match=f"{COUNT} x NO_MODALITY"):
        run(nifti)
    assert {row["code"] for row in rows_of(nifti, "rejections.csv")} == {"NO_MODALITY"}


def test_dicom_studies_carry_covariates_and_no_identifiers(dicom: Path) -> None:
    outcome = run(dicom)
    assert outcome.exit_code == EXIT_OK, outcome.lines
    manifest = manifest_of(dicom)
    assert len(manifest.cases) == COUNT
    known = manifest.cases[0].covariates
    assert (known["sex"], known["age"], known["vendor"]) == ("F", "61", "Phantom Works")
    assert known["site"].startswith("site-") and len({case.covariates["site"] for case in manifest.cases}) == 1
    assert f"resdx plan {dicom / 'out' / 'cohort.csv'}" in outcome.lines[-1]


def test_columns_overrule_headers_and_old_ages_are_pooled(dicom: Path) -> None:
    write_patient(dicom / "scans" / "old", 99, age="097Y")
    ids = [f"PAT-{n:04d}" for n in (*range(1, COUNT + 1), 99)]
    count = len(ids)
    columns = {
        "PatientID": ids,
        "lesion": yes_no(count),
        "hospital": ["North"] * count,
        "years": ["95.5"] * 3 + [""] * (count - 3),
    }
    write_labels(dicom / "labels.csv", columns)
    run(dicom, labels={"covariates": {"site": "hospital", "age": "years"}})
    manifest = manifest_of(dicom)
    assert {case.covariates["site"] for case in manifest.cases} == {"North"}
    assert Counter(case.covariates["age"] for case in manifest.cases) == {"61": COUNT - 3, "90": 4}


def test_a_near_copy_under_another_patient_in_another_split_stops_until_it_is_acknowledged(nifti: Path) -> None:
    voxels = nibabel.load(nifti / "scans" / "0" / "scan00.nii.gz").get_fdata(dtype=np.float32)
    eight_bit = np.rint(255 * (voxels - voxels.min()) / np.ptp(voxels)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(eight_bit, np.diag([1.0, 1.0, 2.0, 1.0])), nifti / "scans" / "copy.nii")
    rows = list(csv.DictReader((nifti / "labels.csv").open()))
    told = {
        name: [*(row[name] for row in rows), new]
        for name, new in zip(rows[0], ("copy.nii", "other", "no"), strict=True)
    }
    splits = ["train"] * 12 + ["validation"] * 4 + ["test"] * 5
    write_labels(nifti / "labels.csv", told | {"split": splits})
    with pytest.raises(LeakError) as raised:
        run(nifti, modality="MR", labels={"split_column": "split"})
    names = Pseudonyms.open(None)
    assert "1 leak between splits:\n  - nearly the same image: " in str(raised.value)
    for patient, case in (("p0", "0/scan00.nii.gz"), ("other", "copy.nii")):
        assert names.patient(patient) in str(raised.value) and names.case(case) in str(raised.value)
    run(nifti, modality="MR", labels={"split_column": "split"}, acknowledge_leaks=True)
    manifest = manifest_of(nifti)
    assert manifest.acknowledged_leaks == 1
    assert "1 patients or images stand in two splits" in (nifti / "out" / "cohort.html").read_text()
    kept = kept_thumbnails(nifti / "out" / "cohort.csv", manifest)
    with pytest.raises(LeakError, match="nearly the same image"):
        train.check_manifest(manifest.model_copy(update={"acknowledged_leaks": 0}), kept)
    train.check_manifest(manifest, kept)


def test_train_starts_with_the_thumbnails_or_not_at_all(nifti: Path, tmp_path: Path) -> None:
    run(nifti, modality="MR")
    path = nifti / "out" / "cohort.csv"
    path.with_name("cohort.thumbnails.npz").unlink()
    config = train.Config.from_mapping({"manifest": str(path), "out": str(tmp_path / "run")})
    with pytest.raises(ManifestError, match=r"cohort\.thumbnails\.npz, which the audit of leaks needs"):
        train.run(config)


def test_a_given_split_is_kept_to_the_word(nifti: Path) -> None:
    names = sorted(str(path.relative_to(nifti / "scans")) for path in (nifti / "scans").rglob("*.gz"))
    splits = ["train"] * 10 + ["val"] * 4 + ["Testing"] * 6
    labels = yes_no(COUNT)
    write_labels(nifti / "labels.csv", {"path": names, "lesion": labels, "part": splits})
    run(nifti, modality="MR", labels={"split_column": "part"})
    manifest, pseudonyms = manifest_of(nifti), Pseudonyms.open(None)
    wanted = dict(zip(map(pseudonyms.case, names), splits, strict=True))
    told = {Split.TRAIN: "train", Split.VALIDATION: "val", Split.TEST: "Testing"}
    assert {case.case: told[case.split] for case in manifest.cases if case.split} == wanted


def test_a_patient_in_two_splits_stops_until_it_is_acknowledged(nifti: Path) -> None:
    rows = list(csv.DictReader((nifti / "labels.csv").open()))
    told = {name: [row[name] for row in rows] for name in rows[0]}
    splits = ["train", "test", *["train", "train", "validation", "validation"] * 4, "test", "test"]
    write_labels(nifti / "labels.csv", told | {"split": splits})
    with pytest.raises(LeakError) as raised:
        run(nifti, modality="MR", labels={"split_column": "split"})
    assert Pseudonyms.open(None).patient("p0") in str(raised.value)
    run(nifti, modality="MR", labels={"split_column": "split"}, acknowledge_leaks=True)
    assert manifest_of(nifti).acknowledged_leaks >= 1
    assert "acknowledge" in (nifti / "out" / "cohort.html").read_text()


def test_the_same_pixels_under_two_patients_in_two_splits_stop(nifti: Path) -> None:
    copy = nifti / "scans" / "copy.nii"
    write_nifti(copy, seed=0)
    rows = list(csv.DictReader((nifti / "labels.csv").open()))
    told = {name: [row[name] for row in rows] for name in rows[0]}
    told = {
        "path": [*told["path"], "copy.nii"],
        "patient_id": [*told["patient_id"], "other"],
        "lesion": [*told["lesion"], "no"],
    }
    splits = ["train"] * 12 + ["validation"] * 4 + ["test"] * 5
    write_labels(nifti / "labels.csv", told | {"split": splits})
    with pytest.raises(LeakError):
        run(nifti, modality="MR", labels={"split_column": "split"})


def test_extend_keeps_the_split_of_every_patient(dicom: Path) -> None:
    run(dicom)
    before = {case.patient: case.split for case in manifest_of(dicom).cases}
    old = dicom / "old.csv"
    for ending in ("csv", "json", "files.csv"):
        shutil.copy(dicom / "out" / f"cohort.{ending}", dicom / f"old.{ending}")
    write_dicom_export(dicom / "scans", range(101, 111))
    ids = [f"PAT-{n:04d}" for n in (*range(1, COUNT + 1), *range(101, 111))]
    write_labels(dicom / "labels.csv", {"PatientID": ids, "lesion": yes_no(len(ids))})
    run(dicom, extend=str(old), split={"seed": 7})
    after = {case.patient: case.split for case in manifest_of(dicom).cases}
    assert len(after) == COUNT + 10 and before.items() <= after.items()


def test_extend_with_another_key_says_so(dicom: Path) -> None:
    run(dicom)
    shutil.copytree(dicom / "out", dicom / "old")
    with pytest.raises(ManifestError, match="key"):
        run(dicom, extend=str(dicom / "old" / "cohort.csv"), key_file=str(dicom / "other" / "key"))


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


def test_without_labels_an_inventory_is_made(dicom: Path) -> None:
    outcome = run(dicom, labels={"file": None, "findings": []})
    assert outcome.exit_code == EXIT_OK
    manifest = manifest_of(dicom)
    assert manifest.findings == () and {case.split for case in manifest.cases} == {None}
    assert any(f"{COUNT} x CT" in line and "axial" in line and "4 slices" in line for line in outcome.lines)
    assert len(rows_of(dicom, "inventory.files.csv")) == COUNT


def test_mammograms_are_a_case_a_side(tmp_path: Path) -> None:
    for number in range(1, 9):
        for series, side in enumerate("LR", start=1):
            who = Identity.numbered(number).another_series(series)
            stored = make_voxels((8, 6, 1), seed=10 * number + series)[:, :, 0]
            path = tmp_path / "scans" / f"{number}{side}.dcm"
            write_radiograph(path, stored, modality="MG", laterality=side, view="MLO", identity=who, instance=side)
    ids = [f"PAT-{n:04d}" for n in range(1, 9) for _ in "LR"]
    sides = list("LR" * 8)
    write_labels(tmp_path / "labels.csv", {"PatientID": ids, "side": sides, "lesion": yes_no(16)})
    outcome = run(tmp_path, split={"train": 0.5, "validation": 0.25, "test": 0.25})
    assert outcome.exit_code == EXIT_OK, outcome.lines
    cases = manifest_of(tmp_path).cases
    assert len(cases) == 16 and all(
        case.labels["lesion"] == ("yes" if case.covariates["laterality"] == "R" else "no") for case in cases
    )


def test_same_in_same_out_and_workers_change_nothing(dicom: Path) -> None:
    make_mess(dicom)
    lines = run(dicom).lines
    first = content_of(dicom / "out")
    assert run(dicom, processes=2).lines == lines
    assert content_of(dicom / "out") == first
    tables = ("files.csv", "rejections.csv", "labels.rejections.csv")
    ends = ("csv", "json", "html", "report.json", "thumbnails.npz", *tables)
    assert {f"cohort.{end}" for end in ends} == set(first)


def test_nothing_is_written_among_the_scans(dicom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_of(dicom / "scans")
    run(dicom)
    assert content_of(dicom / "scans") == before
    for settings in ({"out": str(dicom / "scans" / "x.csv")}, {"key_file": str(dicom / "scans" / "key")}):
        with pytest.raises(UsageError, match="folder of scans"):
            run(dicom, **settings)
    monkeypatch.setenv("RESDX_KEY_FILE", str(dicom / "scans" / "key"))
    with pytest.raises(UsageError, match="folder of scans"):
        run(dicom)
    assert content_of(dicom / "scans") == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"out": "labels.csv"}, "overwritten"),
        ({"out": "cohort"}, r"does not end in \.csv"),
        ({"scans": "nowhere"}, "does not exist"),
        ({"scans": "labels.csv"}, "is no folder and no ZIP archive"),
    ],
)
def test_places_that_cannot_be(dicom: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(dicom, **{key: str(dicom / value) for key, value in settings.items()})


CANARY = "Zzq"


def test_no_identifier_leaves_its_tables(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scans = tmp_path / "scans"
    personal = (
        *("PatientName", "InstitutionName", "SeriesDescription", "StudyDescription", "ReferringPhysicianName"),
        *("PatientComments", "PatientAddress", "StationName", "OperatorsName", "DeviceSerialNumber", "StudyID"),
    )

    def spoil(dataset: object, k: int) -> None:
        for keyword in personal:
            setattr(dataset, keyword, f"{CANARY}{keyword}"[:16])

    for number in range(1, COUNT + 1):
        who = Identity.numbered(number, patient_id=f"{CANARY}{number:03d}", accession=f"{CANARY}A{number}")
        write_series(scans / f"{CANARY}^folder{number}", make_voxels((6, 5, 4), seed=number), identity=who, edit=spoil)
    two = Identity.numbered(98, patient_id=f"{CANARY}098")
    for part in (1, 2):
        write_series(
            scans / f"{CANARY}two{part}",
            make_voxels((6, 5, 4), seed=part),
            identity=two.another_series(part),
            edit=spoil,
        )
    ids = [f"{CANARY}{n:03d}" for n in (*range(1, COUNT + 1), 98, 99)]
    write_labels(tmp_path / "labels.csv", {"PatientID": [*ids[:-1], ids[-1].lower()], "lesion": yes_no(len(ids))})
    outcome = run(tmp_path)
    printed = capfd.readouterr()
    public = {
        name: text
        for name, text in content_of(tmp_path / "out").items()
        if not name.endswith(("files.csv", "rejections.csv"))
    }
    ends = ("csv", "html", "json", "report.json", "thumbnails.npz")
    assert sorted(public) == [f"cohort.{end}" for end in ends]
    shown = [*outcome.lines, printed.out, printed.err, *(text.decode(errors="replace") for text in public.values())]
    shown = [text.replace(str(tmp_path), "") for text in shown]
    assert not [text for text in shown if CANARY.lower() in text.lower()]
    assert not [text for text in shown if "1.2.826" in text or str(scans) in text]
    run(tmp_path, labels={"file": None, "findings": []})
    assert CANARY not in (tmp_path / "out" / "cohort.csv").read_text()
    assert CANARY in (tmp_path / "out" / "cohort.inventory.files.csv").read_text()


def test_a_tag_that_is_markup_is_inert_on_the_page(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    for number in range(1, COUNT + 1):
        write_patient(scans / str(number), number, patient_id="=cmd" if number == 1 else f"P{number}")
    ids = ["=cmd", *(f"P{n}" for n in range(2, COUNT + 1))]
    columns = {"PatientID": ids, "lesion": yes_no(COUNT), "site": ["<script>alert(1)</script>"] * COUNT}
    write_labels(tmp_path / "labels.csv", columns)
    run(tmp_path, labels={"covariates": {"site": "site"}})
    page = (tmp_path / "out" / "cohort.html").read_text()
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_no_finding_named_takes_columns_of_yes_and_no_and_says_so(dicom: Path) -> None:
    outcome = run(dicom, labels={"findings": []})
    assert manifest_of(dicom).findings[0].name == "lesion"
    assert any("these columns hold yes and no: lesion" in line for line in outcome.lines)


@pytest.mark.parametrize(
    ("values", "message"),
    [(["maybe"] + ["no", "yes"] * 10, "column lesion, line 2"), (["yes"] * 21, "one class only")],
)
def test_labels_that_mean_nothing_stop_before_scans_are_read(
    dicom: Path, values: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "discover", None)
    ids = [f"PAT-{n:04d}" for n in range(1, 22)]
    write_labels(dicom / "labels.csv", {"PatientID": ids, "lesion": values})
    with pytest.raises(LabelFileError, match=message):
        run(dicom)


def test_every_setting_is_explained() -> None:
    text = explain(ingest.Config)
    for key in ("date_rule", "split_column", "acknowledge_leaks", "several", "memory_bytes"):
        assert key in text
    with pytest.raises(ConfigError, match=r"labels\.nonsense: unknown key"):
        ingest.Config.from_mapping({"scans": "a", "out": "b.csv", "labels": {"nonsense": 1}})


def test_a_given_split_may_not_move_a_patient_of_the_older_manifest(dicom: Path) -> None:
    run(dicom)
    shutil.copytree(dicom / "out", dicom / "old")
    moved = {Split.TRAIN: "test", Split.VALIDATION: "train", Split.TEST: "validation"}
    old, names = {case.patient: case.split for case in manifest_of(dicom).cases}, Pseudonyms.open(None)
    ids = [f"PAT-{n:04d}" for n in range(1, COUNT + 1)]
    splits = [moved[split] for one in ids if (split := old[names.patient(one)])]
    write_labels(dicom / "labels.csv", {"PatientID": ids, "lesion": yes_no(COUNT), "split": splits})
    with pytest.raises(LeakError, match="another split than in the older manifest"):
        run(dicom, extend=str(dicom / "old" / "cohort.csv"), labels={"split_column": "split"})


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


def test_an_inventory_takes_every_series_of_a_study(dicom: Path) -> None:
    write_series(dicom / "scans" / "second", make_voxels((6, 5, 4)), identity=Identity.numbered(1).another_series(2))
    run(dicom, labels={"file": None, "findings": []})
    assert len(manifest_of(dicom).cases) == COUNT + 1


def test_a_study_that_is_refused_leaves_its_patients_label_without_a_scan(dicom: Path) -> None:
    later = write_patient(dicom / "scans" / "later", 7, study_uid="1.2.3.7", series_uid="1.2.3.7.1")
    later[len(later) // 2].unlink()  # of a patient's two studies one has a gap: which of them does the label mean?

    assert run(dicom).exit_code == EXIT_SOME_REJECTED

    assert len(manifest_of(dicom).cases) == COUNT - 1
    codes = Counter(row["code"] for row in rows_of(dicom, "files.csv"))
    assert codes["AMBIGUOUS_LABEL"] and codes["GAP"] == 1


def test_where_no_case_is_left_the_older_manifest_stays_and_the_reasons_stand_beside_it(dicom: Path) -> None:
    run(dicom)
    before = content_of(dicom / "out")
    labels = (dicom / "labels.csv").read_text()
    (dicom / "labels.csv").write_text(labels.replace("PAT-0", "XXX-0"))
    with pytest.raises(ManifestError, match=r"cohort\.failed\.rejections\.csv"):
        run(dicom, select={"modality": ["MR"]})
    after = content_of(dicom / "out")
    failed = {f"cohort.failed.{name}" for name in ("files.csv", "rejections.csv", "labels.rejections.csv")}
    assert before.items() <= after.items() and after.keys() - before.keys() == failed
    assert {row["code"] for row in rows_of(dicom, "failed.files.csv")} == {"NOT_SELECTED"}
    assert {row["problem"] for row in rows_of(dicom, "failed.labels.rejections.csv")} == {"NO_SCAN"}
    (dicom / "labels.csv").write_text(labels)
    run(dicom)
    assert content_of(dicom / "out") == before


def test_two_rows_that_give_one_file_different_modalities_stop(nifti: Path) -> None:
    rows = list(csv.DictReader((nifti / "labels.csv").open()))
    rows = [{**row, "kind": "CT"} for row in rows] + [{**rows[0], "kind": "MR"}]
    write_labels(nifti / "labels.csv", {name: [row[name] for row in rows] for name in rows[0]})
    with pytest.raises(LabelFileError, match=f"lines 2, {COUNT + 2}: the same id"):
        run(nifti, labels={"modality_column": "kind"})
    rows[-1]["kind"] = "CT"
    write_labels(nifti / "labels.csv", {name: [row[name] for row in rows] for name in rows[0]})
    assert run(nifti, labels={"modality_column": "kind"}).exit_code == EXIT_OK


def test_what_is_written_into_fields_of_the_scanner_is_not_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spoilt = {
        "Manufacturer": f"{CANARY}, Jane 1950-01-02",
        "ManufacturerModelName": f"{CANARY}^Jane",
        "PatientSex": f"{CANARY}F".upper(),
        "PatientAge": f"{CANARY}1",
        "ViewPosition": f"{CANARY} JANE".upper(),
        "Laterality": f"{CANARY}L".upper(),
        "BodyPartExamined": f"{CANARY}CHEST".upper(),
        "ProtocolName": CANARY,
        "ContrastBolusAgent": CANARY,
        "ConvolutionKernel": CANARY,
        "ImageComments": CANARY,
    }

    def spoil(dataset: object, k: int) -> None:
        for keyword, value in spoilt.items():
            setattr(dataset, keyword, value)

    def spoil_modality(dataset: object, k: int) -> None:
        dataset.Modality = f"{CANARY}^JANE".upper()  # type: ignore[attr-defined]

    for number in range(1, COUNT + 2):
        edit = spoil_modality if number > COUNT else spoil
        who = Identity.numbered(number)
        write_series(tmp_path / "scans" / str(number), make_voxels((6, 5, 4), seed=number), identity=who, edit=edit)
    ids = [f"PAT-{n:04d}" for n in range(1, COUNT + 2)]
    write_labels(tmp_path / "labels.csv", {"PatientID": ids, "lesion": yes_no(COUNT + 1)})
    outcome = run(tmp_path)
    printed = capfd.readouterr()
    shown = [*outcome.lines, printed.out, printed.err]
    shown += [
        text.decode(errors="replace")
        for name, text in content_of(tmp_path / "out").items()
        if not name.endswith("files.csv")
    ]
    assert not [text for text in shown if CANARY.lower() in text.lower()]
    case = manifest_of(tmp_path).cases[0]
    assert len(manifest_of(tmp_path).cases) == COUNT and not case.covariates.keys() & {"vendor", "model", "view", "sex"}
    assert "the header's vendor is no usual value and is left out" in case.notes
    assert {row["code"] for row in rows_of(tmp_path, "rejections.csv")} - {"INCOMPLETE"} == {"BAD_VALUE"}


def test_every_setting_that_a_remedy_names_is_one() -> None:
    named = {name for told in EXPLANATIONS.values() for name in re.findall(r"`([a-z_]+\.[a-z_.]+)`", told.remedy)}
    assert named >= {"read.max_bytes", "labels.date_rule", "read.mend.tilt", "select.channels"}
    for name in named:
        *groups, last = name.split(".")
        settings: type[Settings] = ingest.Config
        for group in groups:
            settings = type(settings.model_fields[group].get_default(call_default_factory=True))
        assert last in settings.model_fields, name


def test_sigterm_says_that_ingest_starts_again(dicom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ingest, "discover", stopped)
    with pytest.raises(StoppedBySignal, match="starts again from the first scan"):
        run(dicom)


def test_a_split_that_cannot_be_dealt_leaves_the_reasons(dicom: Path) -> None:
    ids = [f"PAT-{n:04d}" for n in range(1, COUNT + 1)]
    write_labels(dicom / "labels.csv", {"PatientID": ids, "lesion": ["yes", *["no"] * (COUNT - 1)]})
    with pytest.raises(LabelFileError, match=r"cases are left") as caught:
        run(dicom)
    assert "cohort.rejections.csv" in str(caught.value)
    assert (dicom / "out" / "cohort.rejections.csv").is_file() and not (dicom / "out" / "cohort.csv").exists()


def test_the_page_shows_a_preview_of_each_case_up_to_the_cap(dicom: Path) -> None:
    page = dicom / "out" / "cohort.html"
    for settings, expected in (({}, COUNT), ({"previews": {"count": 5}}, 5), ({"previews": {"count": 0}}, 0)):
        run(dicom, **settings)
        text = page.read_text()
        assert text.count('<img loading="lazy" src="data:image/jpeg;base64,') == text.count("<img") == expected
    names = {case.case for case in manifest_of(dicom).cases}
    run(dicom)
    assert set(re.findall(r"<figcaption[^>]*>([^<]*)<", page.read_text())) == names


def test_a_probe_that_fails_costs_its_section_only(
    dicom: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(_: Manifest) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ingest, "probe", failing)
    run(dicom)
    assert len(manifest_of(dicom).cases) == COUNT
    assert "the probe for shortcuts failed" in caplog.text
