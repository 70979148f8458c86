"""What stands in a report, read back by highdicom and pydicom, and what a secondary capture shows and claims."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from phantoms.dicom_reports import (
    DECISIONS,
    FINDINGS,
    LONG,
    MODEL,
    ODD,
    PROBABILITIES,
    SOURCES,
    foreign,
    make_report,
    make_sheet,
    source_files,
    withheld,
    write,
)
from phantoms.dicom_series import Identity, make_voxels, set_text, write_series
from pydicom import dcmread
from pydicom.dataset import Dataset

from pipeline.domain.finding import CodedConcept, Finding, FindingKind
from pipeline.domain.prediction import FindingPrediction, ScopeVerdict
from pipeline.errors import UsageError
from pipeline.writers.dicom_objects import DISCLAIMER, CaseReport, fitted
from pipeline.writers.dicom_sc import Config as CaptureConfig
from pipeline.writers.dicom_sr import Config as ReportConfig

GROUPED = "1.2.840.10008.5.1.4.1.1.88.34"
"""Comprehensive 3D SR Storage."""


def written(folder: Path, report: CaseReport) -> Dataset:
    (path,) = write(ReportConfig().build(), folder, report).paths
    return dcmread(path)


def items(node: Dataset) -> Iterator[Dataset]:
    """Every content item below a node."""
    for item in node.get("ContentSequence", ()):
        yield item
        yield from items(item)


def named(node: Dataset, meaning: str) -> list[Dataset]:
    found = [item for item in items(node) if "ConceptNameCodeSequence" in item]
    return [item for item in found if item.ConceptNameCodeSequence[0].CodeMeaning == meaning]


def texts(node: Dataset, meaning: str) -> list[str]:
    return [item.TextValue for item in named(node, meaning)]


def code(item: Dataset) -> tuple[str, str, str]:
    concept = item.ConceptCodeSequence[0]
    return concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning


@pytest.fixture
def report(tmp_path: Path) -> CaseReport:
    return make_report(SOURCES["CT series"](tmp_path / "scans"))


def test_an_independent_parser_reads_each_probability_of_each_class(tmp_path: Path, report: CaseReport) -> None:
    (path,) = write(ReportConfig().build(), tmp_path, report).paths
    document = hd.sr.srread(path)
    assert isinstance(document, hd.sr.Comprehensive3DSR)
    assert document.SOPClassUID == GROUPED
    groups = document.content.get_image_measurement_groups()
    for finding, chances, group in zip(FINDINGS, PROBABILITIES, groups, strict=True):
        assert group.tracking_identifier == finding.name
        read = {}
        for one in group.get_measurements():
            if one.name.meaning == "Probability":
                (modifier,) = one[0].ContentSequence
                read[modifier.value.meaning] = one.value
        assert read == {fitted(label): chances[label] for label in finding.classes}
        thresholds = [one.value for one in group.get_measurements() if one.name.value == "THRESHOLD"]
        assert thresholds == ([0.4] if finding.kind is FindingKind.BINARY else [])


def test_numbers_are_dicom_decimals_of_the_same_value(tmp_path: Path, report: CaseReport) -> None:
    found = named(written(tmp_path, report), "Probability")
    assert len(found) == sum(map(len, PROBABILITIES))
    for item in found:
        value = item.MeasuredValueSequence[0]
        assert len(str(value.NumericValue)) <= 16
        assert float(value.NumericValue) == pytest.approx(value.FloatingPointValue, rel=1e-8, abs=1e-300)
        assert value.MeasurementUnitsCodeSequence[0].CodeValue == "1"


def test_findings_carry_their_code_or_one_of_ours_and_decisions_name_classes(
    tmp_path: Path, report: CaseReport
) -> None:
    document = written(tmp_path, report)
    found = [code(item) for item in named(document, "Finding")]
    assert found[0] == ("60046008", "SCT", "Pleural effusion")
    assert {scheme for _, scheme, _ in found[1:]} == {"99RESDX"}
    assert [meaning for _, _, meaning in found[1:]] == ["organ", "signs", fitted(FINDINGS[3].name)]
    decided = [code(item)[2] for item in named(document, "Decision at the operating point")]
    assert decided == ["yes", fitted(ODD), "nodule", "air", "mild"]
    values = [code(item)[0] for item in named(document, "Classification")]
    assert len(set(values)) == sum(len(finding.classes) for finding in FINDINGS)
    assert [item.CodingSchemeDesignator for item in document.CodingSchemeIdentificationSequence] == ["99RESDX"]


def test_names_that_are_cut_stand_in_full_beside(tmp_path: Path, report: CaseReport) -> None:
    document = written(tmp_path, report)
    full = [text.split(": ", 1)[1] for text in texts(document, "Full wording of a code")]
    assert full == [LONG, ODD, FINDINGS[3].name]
    meanings = [item.CodeMeaning for node in items(document) for item in node.get("ConceptCodeSequence", ())]
    assert max(len(meaning.encode()) for meaning in meanings) <= 64


def test_the_algorithm_the_model_and_what_it_is_not_for_are_said(tmp_path: Path, report: CaseReport) -> None:
    document = written(tmp_path, report)
    assert set(texts(document, "Algorithm Name")) == {MODEL.name}
    assert set(texts(document, "Algorithm Version")) == {MODEL.digest[:12]}
    assert texts(document, "Algorithm Parameters")[:4] == [
        f"model digest {MODEL.digest}",
        "resdx 0.1.0",
        "engine torch",
        "threshold 0.4",
    ]
    assert texts(document, "Digest of the model") == [MODEL.digest]
    assert texts(document, "Comment") == [DISCLAIMER, "no frame of reference"]
    assert [code(item)[0] for item in named(document, "Likeness to the training data")] == ["IN_SCOPE"]
    assert (document.CompletionFlag, document.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert document.PreliminaryFlag == "PRELIMINARY"
    assert document.Manufacturer == "resdx"


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_image_is_evidence_and_in_the_library(source: str, tmp_path: Path) -> None:
    report = make_report(SOURCES[source](tmp_path / "scans"))
    document = written(tmp_path / "out", report)
    origin = {str(dcmread(file.path).SOPInstanceUID) for file in report.sources}
    listed = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in named(document, "Source")]
    assert sorted(listed) == sorted(origin)
    evidence = hd.sr.Comprehensive3DSR.from_dataset(document).get_evidence()
    assert {str(one[2]) for one in evidence} == origin
    assert str(document.StudyInstanceUID) in {str(one[0]) for one in evidence}


def test_a_prior_of_another_study_is_referred_to_as_of_that_study(tmp_path: Path) -> None:
    report = make_report(SOURCES["a prior of another study"](tmp_path / "scans"))
    before = ["1.2.826.0.1.3680043.8.498.88"]
    document = written(tmp_path / "out", report)
    assert document.StudyInstanceUID == Identity().study_uid
    assert [one.StudyInstanceUID for one in document.PertinentOtherEvidenceSequence] == before
    image = dcmread(write(CaptureConfig().build(), tmp_path / "out", report).paths[0])
    assert image.StudyInstanceUID == Identity().study_uid
    assert [one.StudyInstanceUID for one in image.StudiesContainingOtherReferencedInstancesSequence] == before
    assert [one.SeriesInstanceUID for one in image.ReferencedSeriesSequence] == [Identity().series_uid]


def test_what_is_out_of_scope_carries_no_number_and_says_why(tmp_path: Path, report: CaseReport) -> None:
    document = written(tmp_path, withheld(report))
    assert not [item for item in items(document) if item.ValueType == "NUM"]
    decided = {code(item)[0] for item in named(document, "Decision at the operating point")}
    assert decided == {"WITHHELD"}
    assert len(named(document, "Finding")) == len(FINDINGS)
    assert [code(item)[0] for item in named(document, "Likeness to the training data")] == ["OUT_OF_SCOPE"]
    assert texts(document, "Why the scan is unlike the training data") == ["spacing of 9 mm", "no lung"]
    assert "out of the model's scope (spacing of 9 mm; no lung)" in texts(document, "Comment")[1]


@pytest.mark.parametrize(
    ("decision", "said"), [("", ["None of the classes"]), ("air", ["air"]), ("edema|air", ["edema", "air"])]
)
def test_a_multilabel_decision_is_each_of_its_classes_or_none(
    decision: str, said: list[str], tmp_path: Path, report: CaseReport
) -> None:
    answer = FindingPrediction(finding="signs", probabilities=PROBABILITIES[2], decision=decision)
    prediction = report.prediction.model_copy(update={"findings": (answer,)})
    document = written(tmp_path, replace(report, prediction=prediction, findings=FINDINGS[2:3], sheets={}))
    assert [code(item)[2] for item in named(document, "Decision at the operating point")] == said


def test_the_procedure_is_what_the_study_says_else_the_modality(tmp_path: Path, report: CaseReport) -> None:
    assert [code(item)[2] for item in named(written(tmp_path, report), "Procedure reported")] == [
        "CT unspecified body region"
    ]

    def edit(dataset: Dataset, _: int) -> None:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "CTCHE", "99HOSP", "CT of the chest"
        dataset.ProcedureCodeSequence = [item, Dataset()]

    paths = write_series(tmp_path / "coded", make_voxels((4, 4, 2)), edit=edit)
    document = written(tmp_path / "out", replace(report, sources=source_files(paths)))
    assert [code(item) for item in named(document, "Procedure reported")] == [("CTCHE", "99HOSP", "CT of the chest")]


@pytest.mark.parametrize("source", SOURCES)
def test_a_capture_shows_the_sheet_and_refers_to_its_sources(source: str, tmp_path: Path) -> None:
    report = make_report(SOURCES[source](tmp_path / "scans"))
    paths = write(CaptureConfig().build(), tmp_path / "out", report).paths
    origin = [dcmread(file.path) for file in report.sources]
    assert [path.name for path in paths] == [f"C7F3_{finding.name}_sc.dcm" for finding in FINDINGS]
    for number, (path, finding) in enumerate(zip(paths, FINDINGS, strict=True)):
        image = dcmread(path)
        np.testing.assert_array_equal(image.pixel_array, make_sheet(number))
        assert image.ImageType[:2] == ["DERIVED", "SECONDARY"]
        assert {item.ReferencedSOPInstanceUID for item in image.SourceImageSequence} == {
            one.SOPInstanceUID for one in origin
        }
        assert {item.SeriesInstanceUID for item in image.ReferencedSeriesSequence} == {
            one.SeriesInstanceUID for one in origin if one.StudyInstanceUID == image.StudyInstanceUID
        }
        assert image.SeriesDescription.startswith(fitted(f"resdx heatmap of {finding.name}")[:50])
        assert "Grad-CAM" in image.DerivationDescription
        assert MODEL.digest in image.DerivationDescription
        assert image.ImageComments == DISCLAIMER
        assert not {"FrameOfReferenceUID", "PixelSpacing", "ImageOrientationPatient"} & set(image.dir())
    assert len({dcmread(path).SeriesInstanceUID for path in paths}) == len(paths)


def test_a_capture_inherits_burned_in_text_loss_and_side(tmp_path: Path) -> None:
    def capture(source: str) -> Dataset:
        report = make_report(SOURCES[source](tmp_path / source))
        return dcmread(write(CaptureConfig().build(), tmp_path / "out", report).paths[0])

    japanese, plain = capture("MR series in Japanese"), capture("CT series")
    assert (japanese.BurnedInAnnotation, japanese.LossyImageCompression) == ("YES", "01")
    assert (japanese.LossyImageCompressionRatio, japanese.LossyImageCompressionMethod) == (12.5, "ISO_10918_1")
    assert not {"BurnedInAnnotation", "LossyImageCompression"} & set(plain.dir())
    assert (plain.Laterality, capture("mammogram").Laterality) == ("", "L")


def test_a_withheld_answer_shows_no_heatmap_and_no_sheet_is_no_object(tmp_path: Path, report: CaseReport) -> None:
    writer = CaptureConfig().build()
    assert write(writer, tmp_path / "out", withheld(report)).reason.startswith("the answer is withheld")
    assert write(writer, tmp_path / "out", replace(report, sheets={})).reason == "there is no heatmap to be shown"
    one = replace(report, sheets={"organ": make_sheet(3)})
    assert [path.name for path in write(writer, tmp_path / "out", one).paths] == ["C7F3_organ_sc.dcm"]


def test_another_heatmap_of_the_same_case_is_another_object(tmp_path: Path, report: CaseReport) -> None:
    writer = CaptureConfig().build()
    found = []
    for seed in (1, 2):
        (path,) = write(writer, tmp_path / str(seed), replace(report, sheets={"organ": make_sheet(seed)})).paths
        found.append(dcmread(path))
    assert found[0].SOPInstanceUID != found[1].SOPInstanceUID
    assert found[0].SeriesInstanceUID != found[1].SeriesInstanceUID


def test_uids_are_derived_and_of_one_root(tmp_path: Path, report: CaseReport) -> None:
    document = written(tmp_path, report)
    mine = [document.SOPInstanceUID, document.SeriesInstanceUID]
    mine += [item.UID for item in items(document) if "UID" in item]
    assert all(uid.is_valid and uid.startswith("1.2.826.0.1.3680043.8.498.") for uid in mine)
    assert len(set(mine)) == len(mine)


def test_the_least_that_can_be_said_is_a_report(tmp_path: Path, report: CaseReport) -> None:
    finding = Finding(name="x", kind=FindingKind.MULTILABEL, classes=("",))
    answer = FindingPrediction(finding="x", probabilities={"": 0.5}, decision="")
    prediction = report.prediction.model_copy(
        update={"findings": (answer,), "scope": ScopeVerdict.NOT_CHECKED, "notes": ()}
    )
    least = replace(
        report,
        prediction=prediction,
        findings=(finding,),
        sheets={},
        model=MODEL.model_copy(update={"name": "größtes\\Netz" * 20, "engine": ""}),
    )
    document = written(tmp_path, least)
    assert [code(item)[0] for item in named(document, "Likeness to the training data")] == ["NOT_CHECKED"]
    assert len(document.ManufacturerModelName.encode()) <= 64
    assert [code(item)[2] for item in named(document, "Classification")] == ["(empty)"]


def test_long_codes_and_meanings_of_a_finding_are_kept_valid(tmp_path: Path, report: CaseReport) -> None:
    concept = CodedConcept(value="1234567890123456789", scheme="99AVERYLONGSCHEMENAME", meaning="m" * 80)
    findings = (FINDINGS[0].model_copy(update={"concept": concept}), *FINDINGS[1:])
    item = named(written(tmp_path, replace(report, findings=findings)), "Finding")[0].ConceptCodeSequence[0]
    assert item.LongCodeValue == "1234567890123456789"
    assert len(item.CodingSchemeDesignator) <= 16
    assert len(item.CodeMeaning) == 64


def overlong(dataset: Dataset, _: int) -> None:
    set_text(dataset, 0x00080050, "SH", "ACCESSION-NUMBER-OF-32-CHARACTERS")
    set_text(dataset, 0x00100010, "PN", "a name without a caret " * 5)
    set_text(dataset, 0x00100020, "LO", "P" * 70)
    set_text(dataset, 0x00100030, "DA", "1963.01.01")
    set_text(dataset, 0x00100040, "CS", "female")
    set_text(dataset, 0x00080020, "DA", "yesterday")
    set_text(dataset, 0x00080030, "TM", "25:99")
    set_text(dataset, 0x00200013, "IS", "one")
    set_text(dataset, 0x00080201, "SH", "+9999")
    set_text(dataset, 0x00282110, "CS", "01")
    set_text(dataset, 0x00282112, "DS", "ten to one")


def test_what_a_pacs_files_by_is_copied_letter_by_letter_and_what_is_no_date_stays_empty(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "scans", make_voxels((4, 4, 2)), edit=overlong)
    report = make_report(paths)
    for config in (ReportConfig(), CaptureConfig()):
        made = dcmread(write(config.build(), tmp_path / "out", report).paths[0])
        assert made.AccessionNumber == "ACCESSION-NUMBER-OF-32-CHARACTERS"
        assert made.PatientID == "P" * 70
        assert str(made.PatientName) == ("a name without a caret " * 5).strip()
        assert (made.PatientBirthDate, made.PatientSex, made.StudyDate, made.StudyTime) == ("19630101", "", "", "")


def test_no_log_and_no_warning_tells_of_the_patient(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    with caplog.at_level(logging.DEBUG):
        for source, edit in (("odd", overlong), ("foreign", foreign)):
            report = make_report(write_series(tmp_path / source, make_voxels((4, 4, 2)), edit=edit))
            for config in (ReportConfig(), CaptureConfig()):
                assert write(config.build(), tmp_path / "out", report).paths
    said = caplog.text + "".join(str(one.message) for one in recwarn)
    for told in ("caret", "PPP", "ACCESSION", "Yamada", "PAT-", "Phantom", Identity().study_uid):
        assert told not in said


def test_what_is_withheld_without_a_verdict_is_not_called_out_of_scope(tmp_path: Path, report: CaseReport) -> None:
    prediction = report.prediction.model_copy(update={"findings": (), "scope": ScopeVerdict.NOT_CHECKED})
    said = texts(written(tmp_path, replace(report, prediction=prediction)), "Comment")
    assert said[1] == "No probability and no decision is given: the answer is withheld."


def test_without_highdicom_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.writers.dicom_objects.find_spec", lambda _: None)
    for config in (ReportConfig, CaptureConfig):
        with pytest.raises(UsageError, match=r"resdx\[dicom\]"):
            config().build()


def test_decisions_of_the_phantom_are_what_the_tests_read() -> None:
    assert len(DECISIONS) == len(FINDINGS) == len(PROBABILITIES)
