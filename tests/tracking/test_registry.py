"""A package logged to MLflow, registered, found again and opened by MLflow without pickle."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow.pyfunc
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from phantoms.answers import answer_of
from phantoms.packages import FINDINGS, make_package

from pipeline.domain.geometry import Geometry
from pipeline.domain.volume import Volume
from pipeline.engines.torch import Config
from pipeline.errors import PackageError, TrackingError
from pipeline.package.content import CONTENT
from pipeline.package.package import ModelPackage, load_package
from pipeline.stages.pyfunc import COLUMNS, ScanModel
from pipeline.tracking.client import connect
from pipeline.tracking.journal import FileJournal
from pipeline.tracking.locate import resolve
from pipeline.tracking.registry import OUTPUTS
from pipeline.tracking.replay import replay
from pipeline.tracking.settings import Store, TrackingSettings, default_store

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
CLASSES = sum(len(finding.classes) for finding in FINDINGS)

PREDICT = """
import json
import sys
import mlflow
import pandas as pd
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/lesions@candidate")
frame = model.predict(pd.DataFrame({"path": [sys.argv[2]]}), params={"modality": "CT"})
assert "pytorch_lightning" not in sys.modules
print(json.dumps(frame["probability"].tolist()))
"""


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    nib.save(nifti(1), folder / "one.nii.gz")
    (folder / "one").mkdir()
    nib.save(nifti(2), folder / "one" / "two.nii.gz")
    (folder / "one" / "notes.txt").write_text("nothing to see")
    (folder / "damaged").mkdir()
    whole = (folder / "one.nii.gz").read_bytes()
    (folder / "damaged" / "three.nii.gz").write_bytes(whole[: len(whole) // 2])
    return folder


def voxels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(50, 80, size=(14, 12, 9)).astype(np.float32)


def nifti(seed: int) -> nib.Nifti1Image:
    image = nib.Nifti1Image(voxels(seed), AFFINE)
    image.header.set_xyzt_units("mm")
    return image


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("registry") / "run" / "package")


@pytest.fixture(scope="module")
def registered(package: ModelPackage) -> tuple[str, Store]:
    """Id of the run that the package was logged under, and the store."""
    settings = TrackingSettings()
    run_folder = package.folder.parent
    journal = FileJournal(run_folder)
    journal.model(package.folder, package.digest, name="lesions", alias="candidate")
    journal.end("FINISHED")
    return replay(run_folder, settings), settings.store(run_folder)


def expected(package: ModelPackage, seed: int) -> list[float]:
    volume = Volume(voxels(seed)[np.newaxis], Geometry.from_matrix((14, 12, 9), AFFINE), "CT")
    said = answer_of(volume, package, Config(device="cpu").build(package))
    return [value for finding in said for value in finding.probabilities.values()]


def test_mlflow_opens_it_with_pickle_forbidden_and_predicts_the_same(
    package: ModelPackage, registered: tuple[str, Store], scans: Path
) -> None:
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PREDICT, registered[1].uri, str(scans / "one.nii.gz")]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(expected(package, 1), abs=1e-6)


def test_the_logged_model_holds_no_pickle_and_no_code(registered: tuple[str, Store], tmp_path: Path) -> None:
    folder = resolve(f"runs:/{registered[0]}/model", registered[1], tmp_path).parent.parent

    assert not [entry for entry in folder.rglob("*") if entry.suffix in {".pkl", ".pickle", ".pt", ".pth", ".py"}]
    for entry in folder.rglob("*"):
        assert entry.is_dir() or not entry.read_bytes().startswith(b"\x80"), f"{entry.name} looks like a pickle"


@pytest.mark.parametrize("form", ["runs:/{run}/model", "models:/lesions@candidate", "models:/lesions/1"])
def test_every_way_to_name_it_leads_to_the_same_package(
    package: ModelPackage, registered: tuple[str, Store], tmp_path: Path, form: str
) -> None:
    run_id, store = registered

    assert load_package(resolve(form.format(run=run_id), store, tmp_path)).digest == package.digest


def test_a_package_or_a_run_folder_names_it_too(package: ModelPackage, tmp_path: Path) -> None:
    store = Store(uri="sqlite:////nowhere/mlflow.db")

    assert resolve(str(package.folder), store, tmp_path) == package.folder
    assert resolve(str(package.folder.parent), store, tmp_path) == package.folder


@pytest.mark.parametrize("asked", ["models:/lesions@champion", "models:/unknown/1", "runs:/0123456789abcdef/model"])
def test_a_model_that_is_not_there_is_named(registered: tuple[str, Store], tmp_path: Path, asked: str) -> None:
    with pytest.raises(TrackingError, match=r"cannot be used: .* Check the name"):
        resolve(asked, registered[1], tmp_path)


def test_a_store_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"mlflow\.db, which does not exist. Give tracking_uri"):
        resolve("models:/lesions@champion", default_store(tmp_path), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////data/mlflow.db", "/data/mlflow.db"),
        ("sqlite:///mlflow.db", "mlflow.db"),
        ("sqlite+pysqlite:///mlflow.db?timeout=5", "mlflow.db"),
        ("sqlite:///file:/data/mlflow.db?mode=ro&uri=true", None),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("http://host:5000", None),
    ],
)
def test_the_file_of_a_sqlite_store(uri: str, file: str | None) -> None:
    assert Store(uri=uri).file == (None if file is None else Path(file))


def test_a_folder_without_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"holds no model package \(package\.json\)"):
        resolve(str(tmp_path), Store(uri=""), tmp_path)


def test_each_scan_is_rows_or_one_refusal_and_no_path_comes_back(package: ModelPackage, scans: Path) -> None:
    paths = [scans / "one", scans / "damaged", scans / "absent", scans / "one" / "notes.txt", scans / "one.nii.gz"]

    frame = ScanModel(package.folder).predict(pd.DataFrame({"path": [str(path) for path in paths]}), {"modality": "CT"})

    assert tuple(frame.columns) == COLUMNS == tuple(column.name for column in OUTPUTS)
    by_row = dict(iter(frame.groupby("row")))
    assert [len(by_row[row]) for row in range(5)] == [CLASSES, 1, 1, 1, CLASSES]
    assert by_row[0]["probability"].tolist() == pytest.approx(expected(package, 2), abs=1e-6)
    assert by_row[4]["probability"].tolist() == pytest.approx(expected(package, 1), abs=1e-6)
    assert [by_row[row]["code"].iloc[0] for row in (2, 3)] == ["UNREADABLE", "NOT_AN_IMAGE"]
    assert by_row[1]["code"].iloc[0] in {"TRUNCATED", "CORRUPT"}
    assert by_row[0]["case"].iloc[0] != by_row[4]["case"].iloc[0]
    text = frame.to_csv()
    assert str(scans) not in text
    assert "two.nii" not in text


def test_an_unknown_modality_is_refused_not_guessed(package: ModelPackage, scans: Path) -> None:
    frame = ScanModel(package.folder).predict(pd.DataFrame({"path": [str(scans / "one.nii.gz")]}))

    assert frame["code"].tolist() == ["NO_MODALITY"]


def test_a_registered_package_that_was_edited_is_refused(registered: tuple[str, Store], tmp_path: Path) -> None:
    folder = resolve("models:/lesions@candidate", registered[1], tmp_path)
    (folder / CONTENT).write_text((folder / CONTENT).read_text().replace('"threshold": 0.4', '"threshold": 0.1'))

    with pytest.raises(PackageError, match="refused"):
        mlflow.pyfunc.load_model(str(folder.parent.parent))


def test_the_alias_moves_to_the_newest_version(registered: tuple[str, Store], tmp_path: Path) -> None:
    other = make_package(registered_folder(registered[1]) / "second" / "package", tta_flips=(0,))
    journal = FileJournal(other.folder.parent)
    journal.model(other.folder, other.digest, name="lesions", alias="candidate")
    replay(other.folder.parent, TrackingSettings())

    client = connect(registered[1])
    assert str(client.get_model_version_by_alias("lesions", "candidate").version) == "2"
    assert load_package(resolve("models:/lesions@candidate", registered[1], tmp_path)).digest == other.digest


def registered_folder(store: Store) -> Path:
    return Path(store.uri.removeprefix("sqlite:///")).parent
