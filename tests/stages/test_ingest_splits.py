"""Splits of an ingested cohort: kept, extended, and what would leak from one to another."""

import csv
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from phantoms.exports import content_of, write_dicom_export, write_labels, write_nifti, write_patient, yes_no
from phantoms.ingesting import COUNT, manifest_of, rows_of, run

from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.thumbnails import kept_thumbnails
from pipeline.domain.case import Split
from pipeline.errors import LabelFileError, LeakError, ManifestError
from pipeline.stages import train


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


def test_a_copy_that_is_a_slice_short_under_another_patient_stops(dicom: Path) -> None:
    other = {"patient_id": "OTHER", "study_uid": "1.2.3", "series_uid": "1.2.3.1"}
    for path in write_patient(dicom / "scans" / "copy", 1, **other)[:1]:
        path.unlink()
    ids = [*(f"PAT-{n:04d}" for n in range(1, COUNT + 1)), "OTHER"]
    splits = ["train"] * 12 + ["validation"] * 4 + ["test"] * 5
    write_labels(dicom / "labels.csv", {"PatientID": ids, "lesion": yes_no(COUNT + 1), "split": splits})
    with pytest.raises(LeakError, match="1 leak between splits:\n  - most slices the same: ") as raised:
        run(dicom, labels={"split_column": "split"})
    names = Pseudonyms.open(None)
    assert names.patient("OTHER") in str(raised.value) and names.patient("PAT-0001") in str(raised.value)
    run(dicom, labels={"split_column": "split"}, acknowledge_leaks=True)
    assert manifest_of(dicom).acknowledged_leaks == 1


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


def test_a_split_that_cannot_be_dealt_leaves_the_reasons(dicom: Path) -> None:
    ids = [f"PAT-{n:04d}" for n in range(1, COUNT + 1)]
    write_labels(dicom / "labels.csv", {"PatientID": ids, "lesion": ["yes", *["no"] * (COUNT - 1)]})
    with pytest.raises(LabelFileError, match=r"cases are left") as caught:
        run(dicom)
    assert "cohort.rejections.csv" in str(caught.value)
    assert (dicom / "out" / "cohort.rejections.csv").is_file() and not (dicom / "out" / "cohort.csv").exists()


def write_anonymised_export(folder: Path, subjects: int, studies: int) -> dict[str, str]:
    """Write studies each of which has a PatientID of its own; return each StudyInstanceUID with its subject."""
    told = {f"1.2.3.{n}": f"S{n // studies}" for n in range(subjects * studies)}
    for n, uid in enumerate(told):
        write_patient(folder / "scans" / str(n), n + 1, patient_id=f"ANON{n}", study_uid=uid)
    labels = ["yes" if (n // studies) % 2 else "no" for n in range(len(told))]
    columns = {"subject": list(told.values()), "StudyInstanceUID": list(told), "lesion": labels}
    write_labels(folder / "labels.csv", columns)
    return told


def test_a_subject_whose_studies_have_each_a_patient_id_stands_in_one_split(tmp_path: Path) -> None:
    told, names = write_anonymised_export(tmp_path, subjects=8, studies=3), Pseudonyms.open(None)
    outcome = run(tmp_path)
    cases = manifest_of(tmp_path).cases
    assert {case.study: case.patient for case in cases} == {
        names.study(uid): names.patient(subject) for uid, subject in told.items()
    }
    assert len({(case.patient, case.split) for case in cases}) == 8
    assert "24 cases of 8 patients." in outcome.lines[0]
    assert any(line.startswith("8 patients of the label file have several PatientIDs") for line in outcome.lines)
    shutil.copytree(tmp_path / "out", tmp_path / "old")
    before = {case.patient: case.split for case in cases}
    shutil.rmtree(tmp_path / "scans")
    for n in range(8):
        write_patient(tmp_path / "scans" / str(n), 50 + n, patient_id=f"ANON{50 + n}", study_uid=f"1.2.3.{50 + n}")
    studies = [f"1.2.3.{50 + n}" for n in range(8)]
    later = {"subject": [f"S{n}" for n in range(8)], "StudyInstanceUID": studies, "lesion": yes_no(8)}
    write_labels(tmp_path / "labels.csv", later)
    run(tmp_path, extend=str(tmp_path / "old" / "cohort.csv"))
    assert {case.patient: case.split for case in manifest_of(tmp_path).cases} == before


def test_a_subject_that_the_label_file_puts_into_two_splits_stops(tmp_path: Path) -> None:
    write_anonymised_export(tmp_path, subjects=8, studies=3)
    rows = list(csv.DictReader((tmp_path / "labels.csv").open()))
    told = {name: [row[name] for row in rows] for name in rows[0]}
    write_labels(tmp_path / "labels.csv", told | {"split": ["train", "validation", "test"] * 8})
    with pytest.raises(LeakError, match="8 leaks between splits"):
        run(tmp_path, labels={"split_column": "split"})


def test_one_patient_id_for_all_scans_is_named_as_the_cause(tmp_path: Path) -> None:
    for n in range(6):
        write_patient(tmp_path / "scans" / str(n), n + 1, patient_id="ANONYMOUS", study_uid=f"1.2.3.{n}")
    columns = {"StudyInstanceUID": [f"1.2.3.{n}" for n in range(6)], "lesion": yes_no(6)}
    write_labels(tmp_path / "labels.csv", columns)
    with pytest.raises(LabelFileError, match=r"(?s)All cases have one patient id.*There is 1 patient for 3 splits"):
        run(tmp_path)
    write_labels(tmp_path / "labels.csv", {"subject": [f"S{n}" for n in range(6)], **columns})
    outcome = run(tmp_path)
    assert "6 cases of 6 patients." in outcome.lines[0]
    assert any("tells no patients apart" in line for line in outcome.lines)


@pytest.mark.parametrize("is_same", [True, False])
def test_an_id_that_is_written_in_two_ways_is_told(tmp_path: Path, is_same: bool) -> None:
    for n in range(12):
        identity = {"patient_id": f"{'00' if n % 2 else ''}{100 + n // 2}", "study_uid": f"1.2.3.{n}"}
        name = f"Canary^{n // 2 if is_same else n}"
        write_patient(tmp_path / "scans" / str(n), n + 1, patient_name=name, **identity)
    columns = {"StudyInstanceUID": [f"1.2.3.{n}" for n in range(12)], "lesion": yes_no(12)}
    write_labels(tmp_path / "labels.csv", columns | {"split": ["train", "test"] * 6})
    if is_same:
        with pytest.raises(
            LeakError, match=r"(?s)they are one and counted as several.*6 leaks between splits"
        ) as raised:
            run(tmp_path, labels={"split_column": "split"})
        assert "Canary" not in str(raised.value) and "00105" not in str(raised.value)
        run(tmp_path, labels={"split_column": "split"}, acknowledge_leaks=True)
        assert manifest_of(tmp_path).acknowledged_leaks == 6
    else:
        lines = run(tmp_path, labels={"split_column": "split"}).lines
        assert any(line.startswith("12 patients have ids that differ by capitals") for line in lines)
        assert "12 patients have ids" in (tmp_path / "out" / "cohort.html").read_text()
    write_labels(tmp_path / "labels.csv", {"PatientID": [str(100 + n // 2) for n in range(12)], **columns})
    lines = run(tmp_path, split={"train": 0.5, "validation": 0.25, "test": 0.25}).lines
    assert "12 cases of 6 patients." in lines[0] and not any("ids that differ" in line for line in lines)
