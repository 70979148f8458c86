"""The verbs over ZIP archives: the same cases as over the folder that was packed, in other processes too."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from phantoms.archives import zip_folder
from phantoms.exports import content_of, write_dicom_export, write_labels, yes_no
from phantoms.packages import make_package

from pipeline.domain.plan import Plan
from pipeline.errors import EXIT_OK
from pipeline.preprocessing.cache import PreparedCache
from pipeline.stages import convert, ingest, plan, predict, prepare

COUNT = 6
LESION = {"name": "lesion", "column": "lesion", "kind": "binary", "positive": "yes"}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def exports(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of series, and the same in an archive in a folder."""
    write_dicom_export(tmp_path / "folder", range(1, COUNT + 1))
    zip_folder(tmp_path / "folder", tmp_path / "packed" / "export.zip")
    return tmp_path / "folder", tmp_path / "packed"


def ingested(scans: Path, out: Path, key: Path) -> Path:
    ids = [f"PAT-{number:04d}" for number in range(1, COUNT + 1)]
    labels = write_labels(out / "labels.csv", {"PatientID": ids, "lesion": yes_no(COUNT)})
    settings: dict[str, object] = {"scans": str(scans), "out": str(out / "cohort.csv"), "key_file": str(key)}
    settings |= {"labels": {"file": str(labels), "findings": [LESION]}, "processes": 1}
    assert ingest.run(ingest.Config.from_mapping(settings)).exit_code == EXIT_OK
    return out / "cohort.csv"


def test_an_archive_gives_the_manifest_of_its_folder_and_can_be_prepared(
    exports: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, packed = exports
    before = content_of(packed)
    key = tmp_path / "key"
    plain = ingested(folder, tmp_path / "plain", key)
    cohort = ingested(packed, tmp_path / "zip", key)
    assert cohort.read_bytes() == plain.read_bytes()
    paths = {Path(row["path"]) for row in rows(cohort.with_name("cohort.files.csv"))}
    assert paths == {packed.resolve() / "export.zip" / path.relative_to(folder) for path in folder.rglob("*.dcm")}

    assert plan.run(plan.Config(manifest=cohort)).exit_code == EXIT_OK
    decided = cohort.with_name("cohort.plan") / "plan.json"
    settings = {"manifest": str(cohort), "plan": str(decided), "cache": str(tmp_path / "cache"), "processes": 1}
    assert prepare.run(prepare.Config.from_mapping(settings)).exit_code == EXIT_OK
    cache = PreparedCache(tmp_path / "cache", Plan.model_validate_json(decided.read_bytes()))
    assert len(list(cache.folder.rglob("*.npy"))) == COUNT
    assert content_of(packed) == before


def test_convert_and_predict_read_an_archive_given_as_the_scans(exports: tuple[Path, Path], tmp_path: Path) -> None:
    folder, packed = exports
    key = str(tmp_path / "key")
    model = str(make_package(tmp_path / "model").folder)
    found = {}
    for name, scans in (("plain", folder), ("zip", packed / "export.zip")):
        out = tmp_path / name
        common: dict[str, object] = {"scans": str(scans), "key_file": key, "processes": 0}
        converted = convert.run(convert.Config.from_mapping(common | {"out": str(out / "nifti")}))
        settings = common | {"model": model, "out": str(out / "said"), "engine": {"kind": "torch", "threads": 1}}
        assert predict.run(predict.Config.from_mapping(settings)).exit_code == converted.exit_code == EXIT_OK
        said = (out / "said" / "predictions.csv").read_bytes()
        volumes = {path.name: path.read_bytes() for path in (out / "nifti").glob("*.nii.gz")}
        inputs = json.loads((out / "nifti" / "summary.json").read_text())["inputs"]
        found[name] = said, volumes, inputs
    assert found["zip"] == found["plain"]
    assert len(found["zip"][1]) == COUNT and np.isfinite(found["zip"][2])
