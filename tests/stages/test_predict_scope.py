"""A scan unlike the training scans gets no probability, from the command or from Python; its reason stays."""

from pathlib import Path

import pandas as pd
import pytest
from phantoms.bodies import SPOILED, body, changed, limb
from phantoms.predicting import config, conserved, rows, summary
from scope.test_scope import Setting, packed

import pipeline
from pipeline.domain.volume import Volume
from pipeline.errors import EXIT_OK
from pipeline.stages.predict import run
from pipeline.stages.pyfunc import ScanModel
from pipeline.writers.nifti import write_image

GOOD = range(500, 506)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scoped")
    setting = Setting(folder / "random", 3)
    return packed(folder / "package", setting, setting.reference).folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scans")
    strange: dict[str, Volume] = {f"good{number}": body(number, 3) for number in GOOD}
    strange |= {name: changed(body(700, 3), spoil) for name, spoil in SPOILED.items() if name != "blank"}
    strange["limb"] = limb(700, 3)
    for name, volume in strange.items():
        write_image(folder / f"{name}.nii.gz", volume)
    return folder


def test_it_is_withheld_with_its_reasons_unless_it_is_to_be_reported(
    model: Path, scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(config(model, scans, tmp_path / "out"))
    assert outcome.exit_code == EXIT_OK
    assert conserved(tmp_path / "out") == (12, 12, 0, 0, 12)
    assert summary(tmp_path / "out")["scope"] == {"in_scope": 6, "out_of_scope": 6}
    assert any("6 of them are unlike" in line for line in outcome.lines)
    for row in rows(tmp_path / "out" / "predictions.csv"):
        is_out = row["scope"] == "out_of_scope"
        assert (row["lesion_p_yes"] == "") == (row["lesion_decision"] == "") == bool(row["scope_reasons"]) == is_out
    decided = summary(tmp_path / "out")["decisions"]["lesion"]
    assert sum(decided.values()) == 6

    run(config(model, scans, tmp_path / "told", scope={"out_of_scope": "report"}))
    told = rows(tmp_path / "told" / "predictions.csv")
    assert sum(row["scope"] == "out_of_scope" and row["lesion_p_yes"] != "" for row in told) == 6
    run(config(model, scans, tmp_path / "unchecked", scope={"check": False}))
    assert {row["scope"] for row in rows(tmp_path / "unchecked" / "predictions.csv")} == {"not_checked"}


def test_python_and_mlflow_withhold_it_too(model: Path, scans: Path) -> None:
    (answer,) = pipeline.load(model).predict(scans / "inverted.nii.gz", modality="CT")
    assert answer.prediction is not None and answer.prediction.findings == ()
    frame = ScanModel(model).predict(pd.DataFrame({"path": [str(scans / "limb.nii.gz")]}), {"modality": "CT"})
    assert frame["scope"].tolist() == ["out_of_scope"]
    assert frame["probability"].isna().all() and frame["message"][0]
