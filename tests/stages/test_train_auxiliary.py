"""Measurements that are learned beside the findings: asked for before anything is made, and gone from the package."""

from pathlib import Path
from typing import Any

import pytest
from phantoms.spheres import FINDINGS, make_manifest, read
from phantoms.trainings import MEASURED, measured

from pipeline.domain.manifest import Manifest
from pipeline.errors import TrainingError
from pipeline.package.package import load_package
from pipeline.stages.train import Config, train

BARE = make_manifest(train=24, validation=12, ndim=2)
MANIFEST = BARE.model_copy(update={"cases": tuple(measured(BARE.cases))})


def trained(out: Path, manifest: Manifest, **settings: Any) -> None:
    chosen: dict[str, Any] = {
        "manifest": "cohort.csv",
        "out": str(out),
        "processes": 0,
        "network": {"backbone": {"kind": "resnet", "width": 4, "depth": 8}},
        "plan": {"precision": "32", "batch_size": 6},
        "training": {"epochs": 2, "accelerator": "cpu", "auxiliary": {"covariates": MEASURED}},
        "tracking": {"enabled": False, "system_seconds": 0},
    }
    assert train(Config.from_mapping(chosen | settings), manifest, read).exit_code == 0


@pytest.mark.parametrize("folds", [0, 3])
def test_a_cohort_without_the_measurements_is_refused_before_anything_is_made(folds: int, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no training case has the covariate side; the manifest has none") as raised:
        trained(tmp_path / "run", BARE, folds=folds)
    assert "labels.covariates" in raised.value.remedy
    assert not (tmp_path / "run").exists()


def test_a_fold_that_has_too_few_is_named_before_the_first_one_trains(tmp_path: Path) -> None:
    blank = {"side": "", "patient": ""}
    cases = [
        case if number < 2 else case.model_copy(update={"covariates": blank})
        for number, case in enumerate(MANIFEST.cases)
    ]
    with pytest.raises(TrainingError, match=r"fold\d-seed0 \(validation is fold \d\): .*teaches nothing"):
        trained(tmp_path / "run", MANIFEST.model_copy(update={"cases": tuple(cases)}), folds=3)
    assert not (tmp_path / "run").exists()


def test_an_ensemble_of_folds_learns_them_and_its_package_holds_the_findings_alone(tmp_path: Path) -> None:
    trained(tmp_path / "run", MANIFEST, folds=2)
    package = load_package(tmp_path / "run" / "package")
    assert package.members == 2
    for classifier in package.build_classifiers():
        assert classifier.findings == FINDINGS
        assert not [name for name in classifier.state_dict() if "auxiliary" in name]
    card = (tmp_path / "run" / "package" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "- Learned beside the findings, at a weight of 0.3: side, patient." in card
