"""The ingest command: cases and their labels, what stops it, what it leaves on disk and what it shows."""

import csv
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.exports import content_of, write_labels, write_patient, yes_no
from phantoms.ingesting import COUNT, manifest_of, rows_of, run

from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.tables import load_files
from pipeline.config import Settings, explain
from pipeline.domain.case import Split
from pipeline.domain.codes import EXPLANATIONS
from pipeline.domain.manifest import Manifest
from pipeline.errors import EXIT_OK, ConfigError, LabelFileError, ManifestError, StoppedBySignal, UsageError
from pipeline.readers.options import ReadOptions
from pipeline.stages import ingest, train


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


def test_one_image_of_each_subject_folder_gets_its_row(nifti: Path) -> None:
    """As BIDS lays them out: ``participants.tsv`` names the folders, and a suffix the kind of image."""
    subjects = [f"sub-{n:02d}" for n in range(COUNT // 2)]
    images = sorted((nifti / "scans").rglob("*.nii.gz"))
    for n, image in enumerate(images):
        (folder := nifti / "scans" / subjects[n // 2] / "anat").mkdir(parents=True, exist_ok=True)
        image.rename(folder / f"{subjects[n // 2]}_T{n % 2 + 1}w.nii.gz")
    write_labels(nifti / "labels.csv", {"participant_id": subjects, "lesion": yes_no(COUNT // 2)})
    run(nifti, modality="MR", labels={"path_column": "participant_id"}, select={"path": r"_T1w\.nii"})
    manifest, names = manifest_of(nifti), Pseudonyms.open(None)
    assert {case.case: (case.patient, case.labels["lesion"]) for case in manifest.cases} == {
        names.case(f"{subject}/anat/{subject}_T1w.nii.gz"): (names.patient(subject), label)
        for subject, label in zip(subjects, yes_no(COUNT // 2), strict=True)
    }


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


def test_an_empty_folder_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    write_labels(
        tmp_path / "labels.csv", {"path": ["a.nii", "b.nii"], "patient_id": ["p", "q"], "lesion": ["yes", "no"]}
    )
    with pytest.raises(ManifestError, match="scans holds no file"):
        run(tmp_path)


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


def test_train_starts_with_the_thumbnails_or_not_at_all(nifti: Path, tmp_path: Path) -> None:
    run(nifti, modality="MR")
    path = nifti / "out" / "cohort.csv"
    path.with_name("cohort.thumbnails.npz").unlink()
    config = train.Config.from_mapping({"manifest": str(path), "out": str(tmp_path / "run")})
    with pytest.raises(ManifestError, match=r"cohort\.thumbnails\.npz, which the audit of leaks needs"):
        train.run(config)


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
    ("values", "message"), [(["maybe"] + ["no", "yes"] * 10, "column lesion, line 2"), (["yes"] * 21, "one class only")]
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


def test_an_inventory_takes_every_series_of_a_study(dicom: Path) -> None:
    write_series(dicom / "scans" / "second", make_voxels((6, 5, 4)), identity=Identity.numbered(1).another_series(2))
    run(dicom, labels={"file": None, "findings": []})
    assert len(manifest_of(dicom).cases) == COUNT + 1


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
