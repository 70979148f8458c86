"""Cases with DICOM sources of every kind, what a model says of them, and the verifiers that judge the objects made."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_objects import ultrasound_region, write_radiograph
from phantoms.dicom_series import Identity, make_image, make_voxels, save, write_series
from pydicom.dataset import Dataset

from pipeline.domain.finding import CodedConcept, Finding, FindingKind
from pipeline.domain.prediction import FindingPrediction, Prediction, ScopeVerdict
from pipeline.domain.series import SourceFile
from pipeline.writers.dicom_objects import CaseReport, ModelIdentity, Written
from pipeline.writers.dicom_writing import DicomObjectWriter, write_objects

MADE = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
MODEL = ModelIdentity(name="lesion detector", digest="0123456789abcdef" * 4, software="0.1.0", engine="torch")
LONG = "a class whose name is far longer than the sixty-four characters that a meaning may have"
ODD = "straße\\größer\n≥ 3 mm"
EFFUSION = CodedConcept(value="60046008", meaning="Pleural effusion")

FINDINGS = (
    Finding(name="effusion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes", concept=EFFUSION),
    Finding(name="organ", kind=FindingKind.MULTICLASS, classes=("liver", LONG, ODD)),
    Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("edema", "nodule", "air")),
    Finding(name="grade_" + "x" * 80, kind=FindingKind.ORDINAL, classes=("none", "mild", "severe")),
)
"""One of each kind; with a code and without, with names that no element holds as they are."""

PROBABILITIES: tuple[dict[str, float], ...] = (
    {"no": 1 / 3, "yes": 2 / 3},
    {"liver": 1e-9, LONG: 0.25, ODD: 0.75 - 1e-9},
    {"edema": 0.0, "nodule": 1.0, "air": 0.1 + 0.2},
    {"none": 5e-324, "mild": 0.5, "severe": 0.5},
)
DECISIONS = ("yes", ODD, "nodule|air", "mild")
BARE = (
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "AccessionNumber",
    "StudyDate",
    "StudyTime",
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionName",
    "SeriesNumber",
)


def bare(dataset: Dataset, _: int = 0) -> None:
    """Take away all that a file may lack."""
    for keyword in (*BARE, "FrameOfReferenceUID", "InstanceNumber"):
        if keyword in dataset:
            delattr(dataset, keyword)


def foreign(dataset: Dataset, _: int = 0) -> None:
    """Names of another alphabet in a character set that is not ours, and odd values."""
    dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    dataset.PatientName = "Yamada^Tarou=山田^太郎"
    dataset.IssuerOfPatientID = "HOSP"
    dataset.StudyID = "S1"
    dataset.TimezoneOffsetFromUTC = "-0530"
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = "12.5"
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.BurnedInAnnotation = "YES"


def ct(folder: Path) -> list[Path]:
    return write_series(folder, make_voxels((8, 7, 3)))


def mr(folder: Path) -> list[Path]:
    return write_series(folder, make_voxels((8, 7, 4)), modality="MR", identity=Identity.numbered(2), edit=foreign)


def enhanced(folder: Path) -> list[Path]:
    return [write_enhanced(folder / "e.dcm", make_frames(make_voxels((8, 7, 5))), identity=Identity.numbered(3))]


def ultrasound(folder: Path) -> list[Path]:
    dataset = make_image(
        make_voxels((9, 8, 3), high=255, dtype=np.uint8), Identity.numbered(4), "US", photometric="RGB"
    )
    dataset.SequenceOfUltrasoundRegions = ultrasound_region(0.1, 0.1)
    return [save(dataset, folder / "us.dcm")]


def mammogram(folder: Path) -> list[Path]:
    stored = make_voxels((9, 8, 1))[:, :, 0]
    return [write_radiograph(folder / "mg.dcm", stored, modality="MG", view="CC", identity=Identity.numbered(5))]


def stripped(folder: Path) -> list[Path]:
    return write_series(folder, make_voxels((8, 7, 3)), identity=Identity.numbered(6), edit=bare)


def channels(folder: Path) -> list[Path]:
    identity = Identity.numbered(7)
    stored = make_voxels((8, 7, 2))
    first = write_series(folder / "t1", stored, modality="MR", identity=identity)
    return first + write_series(folder / "t2", stored, modality="MR", identity=identity.another_series(2))


def prior(folder: Path) -> list[Path]:
    """A study and an earlier one of the same patient."""
    earlier = Identity(study_uid="1.2.826.0.1.3680043.8.498.88", series_uid="1.2.826.0.1.3680043.8.498.88.1")
    return ct(folder / "now") + write_series(folder / "before", make_voxels((8, 7, 2)), identity=earlier)


SOURCES: dict[str, Callable[[Path], list[Path]]] = {
    "CT series": ct,
    "MR series in Japanese": mr,
    "enhanced MR": enhanced,
    "ultrasound": ultrasound,
    "mammogram": mammogram,
    "nothing but UIDs": stripped,
    "two series as channels": channels,
    "a prior of another study": prior,
}


def source_files(paths: Sequence[Path]) -> list[SourceFile]:
    return [
        SourceFile(path, path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in paths
    ]


def make_prediction(case: str = "C7F3") -> Prediction:
    answers = zip(FINDINGS, PROBABILITIES, DECISIONS, strict=True)
    return Prediction(
        case=case,
        patient="P01",
        study="T01",
        series="S01",
        digest="d" * 64,
        model=MODEL.digest,
        scope=ScopeVerdict.IN_SCOPE,
        notes=("no frame of reference",),
        findings=tuple(
            FindingPrediction(
                finding=finding.name,
                probabilities=probabilities,
                decision=decision,
                threshold=0.4 if finding.kind is FindingKind.BINARY else None,
            )
            for finding, probabilities, decision in answers
        ),
    )


def make_sheet(seed: int, rows: int = 21, columns: int = 13) -> np.ndarray:
    """An RGB picture of an odd number of bytes."""
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3)).astype(np.uint8)


def make_report(paths: Sequence[Path], case: str = "C7F3") -> CaseReport:
    return CaseReport(
        prediction=make_prediction(case),
        findings=FINDINGS,
        model=MODEL,
        sources=source_files(paths),
        made=MADE,
        sheets={finding.name: make_sheet(seed) for seed, finding in enumerate(FINDINGS)},
        sheet_method="Grad-CAM",
    )


def write(writer: DicomObjectWriter, folder: Path, report: CaseReport) -> Written:
    """What one writer alone makes of a case."""
    (written,) = write_objects([writer], folder, report)
    return written


def withheld(report: CaseReport) -> CaseReport:
    """The same case, out of scope."""
    changes = {"findings": (), "scope": ScopeVerdict.OUT_OF_SCOPE, "scope_reasons": ("spacing of 9 mm", "no lung")}
    return replace(report, prediction=report.prediction.model_copy(update=changes))


def dciodvfy(path: Path) -> list[str]:
    """What the verifier of dicom3tools says of a file, a line each."""
    program = shutil.which("dciodvfy")
    if not program:
        pytest.skip("dicom3tools: dciodvfy is not installed (Debian: apt-get install dicom3tools)")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", check=False)
    return (done.stdout + done.stderr).splitlines()
