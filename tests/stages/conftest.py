"""Exports and a model that tests of the commands begin with."""

from pathlib import Path

import pytest
from phantoms.exports import write_dicom_export, write_labels, write_nifti_export, yes_no
from phantoms.ingesting import COUNT
from phantoms.packages import make_package


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


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with random weights; no test writes to it."""
    return make_package(tmp_path_factory.mktemp("model") / "package").folder
