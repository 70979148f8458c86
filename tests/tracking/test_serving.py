"""A registered model from Python and behind ``mlflow models serve``: the same answers to a path."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
from phantoms.mlflow_servers import free_port
from phantoms.packages import FINDINGS, make_package
from phantoms.predicting import config, write_scan
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import pipeline
from pipeline.domain.prediction import Prediction
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import PackageError
from pipeline.package.package import ModelPackage
from pipeline.stages.predict import run
from pipeline.tracking.journal import FileJournal
from pipeline.tracking.replay import replay
from pipeline.tracking.settings import TrackingSettings


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("serving") / "run" / "package")


@pytest.fixture(scope="module")
def store(package: ModelPackage) -> str:
    """URI of a store in which the package is registered."""
    folder = package.folder.parent
    journal = FileJournal(folder)
    journal.model(package.folder, package.digest, name="lesions", alias="champion")
    journal.end("FINISHED")
    replay(folder, TrackingSettings())
    return TrackingSettings().store(folder).uri


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    for number in range(2):
        write_scan(folder / f"{number}.nii.gz", number)
    (folder / "cut.nii.gz").write_bytes((folder / "0.nii.gz").read_bytes()[:-40])
    return folder


def test_load_and_predict_say_what_the_command_says(package: ModelPackage, scans: Path, tmp_path: Path) -> None:
    key = Path(os.environ["RESDX_KEY_FILE"])
    run(config(package.folder, scans, tmp_path / "out", key_file=str(key)))
    lines = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    by_command = [Prediction.model_validate_json(line) for line in lines]

    answers = pipeline.load(package.folder.parent, engine=TorchConfig(threads=1)).predict(scans, modality="CT")

    assert sorted([one.code for one in answers]) == ["", "", "TRUNCATED"]
    said = [one.prediction for one in answers if one.prediction is not None]
    assert sorted(said, key=lambda one: one.case) == by_command
    assert {one.path for one in answers} == {scans}


def test_load_takes_what_mlflow_holds_and_refuses_what_was_changed(
    package: ModelPackage, store: str, scans: Path, tmp_path: Path
) -> None:
    model = pipeline.load("models:/lesions@champion", tracking_uri=store)
    assert model.package.digest == package.digest
    several = model.predict([str(scans / "1.nii.gz"), scans / "absent"], modality="CT")
    assert [one.code for one in several] == ["", "UNREADABLE"]
    edited = make_package(tmp_path / "package").folder
    (edited / "package.json").write_text(
        (edited / "package.json").read_text().replace('"threshold": 0.4', '"threshold": 0')
    )
    with pytest.raises(PackageError, match="digest"):
        pipeline.load(edited)


def test_mlflow_models_serve_answers_on_a_path(package: ModelPackage, store: str, scans: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/lesions@champion"]
    command += ["--env-manager", "local", "--port", str(port), "--host", "127.0.0.1", "--workers", "1"]
    environment = os.environ | {"MLFLOW_TRACKING_URI": store, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    # mlflow starts uvicorn by its bare name: it is found where the environment is active, as README has it
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    session = requests.Session()
    waits = Retry(total=120, connect=120, backoff_factor=0.2, backoff_max=0.5)
    session.mount("http://", HTTPAdapter(max_retries=waits))
    with subprocess.Popen(command, env=environment, start_new_session=True) as server:
        try:
            assert session.get(f"http://127.0.0.1:{port}/ping", timeout=60).status_code == 200
            paths = [[str(scans / name)] for name in ("0.nii.gz", "cut.nii.gz")]
            asked = {"dataframe_split": {"columns": ["path"], "data": paths}}
            answer = session.post(
                f"http://127.0.0.1:{port}/invocations", json=asked | {"params": {"modality": "CT"}}, timeout=120
            )
        finally:
            os.killpg(server.pid, 15)
    assert answer.status_code == 200, answer.text
    *rows, refused = json.loads(answer.text, parse_constant=pytest.fail)["predictions"]  # strictly: NaN is no JSON
    assert (refused["row"], refused["code"], refused["probability"]) == (1, "TRUNCATED", None)
    assert len(rows) == sum(len(finding.classes) for finding in FINDINGS)
    (expected,) = pipeline.load(package.folder).predict(scans / "0.nii.gz", modality="CT")
    assert expected.prediction is not None
    chances = [chance for said in expected.prediction.findings for chance in said.probabilities.values()]
    np.testing.assert_allclose([row["probability"] for row in rows], chances, atol=1e-6)
    assert {row["case"] for row in rows} == {expected.case}
