"""One bit of the pixels flips after ingest: the file decodes without error, and only its digest tells."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from phantoms.dicom_series import Identity, make_voxels, write_series
from phantoms.exports import write_labels, yes_no
from phantoms.packages import make_package
from phantoms.readings import read_folder
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.domain.plan import Plan
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED
from pipeline.preprocessing.cache import PreparedCache
from pipeline.preprocessing.transforms import prepare as prepare_volume
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.stages import ingest, plan, predict, prepare

COUNT = 8
VICTIM = 3
LESION = {"name": "lesion", "column": "lesion", "kind": "binary", "positive": "yes"}
SYNTAXES = [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless]


def write_export(folder: Path, syntax: UID) -> None:
    """One CT series a patient, in a folder of its number."""
    for number in range(1, COUNT + 1):
        stored = make_voxels((16, 14, 5), seed=number)
        write_series(folder / str(number), stored, identity=Identity.numbered(number), transfer_syntax=syntax)


def flip(folder: Path) -> Path:
    """Flip one bit of a file so that other voxels are decoded, and leave its size and time as they were."""
    path = sorted(folder.iterdir())[1]
    before, content = path.stat(), path.read_bytes()
    sound = read_folder(folder).volume.voxels
    for place in range(30, 90):
        changed = bytearray(content)
        changed[-place] ^= 1
        path.write_bytes(changed)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        if any((volume.voxels != sound).any() for _, volume in read_folder(folder).volumes):
            return path
    raise AssertionError("every flip is noticed by the decoder")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(params=SYNTAXES, ids=lambda syntax: syntax.keyword)
def scans(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_export(tmp_path / "scans", request.param)
    return tmp_path / "scans"


def test_prepare_refuses_the_case_alone(scans: Path, tmp_path: Path) -> None:
    ids = [f"PAT-{number:04d}" for number in range(1, COUNT + 1)]
    labels = write_labels(tmp_path / "labels.csv", {"PatientID": ids, "lesion": yes_no(COUNT)})
    cohort = tmp_path / "out" / "cohort.csv"
    settings = {"labels": {"file": str(labels), "findings": [LESION]}, "processes": 0}
    assert (
        ingest.run(ingest.Config.from_mapping({"scans": str(scans), "out": str(cohort), **settings})).exit_code
        == EXIT_OK
    )
    assert plan.run(plan.Config(manifest=cohort)).exit_code == EXIT_OK
    manifest, before = load_manifest(cohort), CaseReader(load_files(cohort), ReadOptions())
    sound = {case.case: before.read(case) for case in manifest.cases}

    flip(scans / str(VICTIM))
    decided = tmp_path / "out" / "cohort.plan" / "plan.json"
    config = prepare.Config.from_mapping(
        {"manifest": str(cohort), "plan": str(decided), "cache": str(tmp_path / "cache"), "processes": 0}
    )
    assert prepare.run(config).exit_code == EXIT_SOME_REJECTED
    (table,) = (tmp_path / "cache").glob("*/rejections.csv")
    (row,) = rows(table)
    assert row["code"] == "CHANGED"
    cache = PreparedCache(tmp_path / "cache", Plan.model_validate_json(decided.read_bytes()))
    others = [case for case in manifest.cases if case.case != row["case"]]
    assert len(others) == COUNT - 1
    for case in others:
        np.testing.assert_array_equal(cache.load(case), prepare_volume(sound[case.case], cache.plan))
    assert not cache.is_intact(next(case for case in manifest.cases if case.case == row["case"]))


def test_predict_refuses_the_case_alone(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bit flips between the digest, at discovery, and the use of the bytes."""
    flipped: list[Path] = []

    def discover_and_flip(*args: object, **kwargs: object) -> object:
        found = discover(*args, **kwargs)  # type: ignore[arg-type]
        flipped.append(flip(scans / str(VICTIM)))
        return found

    monkeypatch.setattr(predict, "discover", discover_and_flip)
    model = make_package(tmp_path / "model").folder
    settings = {"model": str(model), "scans": str(scans), "out": str(tmp_path / "out"), "processes": 0}
    outcome = predict.run(predict.Config.from_mapping(settings | {"engine": {"kind": "torch", "threads": 1}}))
    assert outcome.exit_code == EXIT_SOME_REJECTED
    refused = {Path(row["path"]): row["code"] for row in rows(tmp_path / "out" / "rejections.csv")}
    assert refused.pop(flipped[0]) == "CHANGED"
    assert set(refused) == set(flipped[0].parent.iterdir()) - {flipped[0]}
    assert set(refused.values()) == {"INCOMPLETE"}
    assert len(rows(tmp_path / "out" / "predictions.csv")) == COUNT - 1
