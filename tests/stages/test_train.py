"""The train command on a small cohort: package, journal, MLflow, resume."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from phantoms.spheres import FINDINGS, make_manifest, read

from pipeline.cohort.case_reader import CaseReader
from pipeline.data.settings import AugmentationChoice
from pipeline.domain.case import Case, Split
from pipeline.domain.encoding import encode_labels
from pipeline.domain.finding import Finding
from pipeline.domain.manifest import Manifest
from pipeline.domain.volume import Volume
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import EXIT_SOME_REJECTED, LeakError, RejectedInput, StoppedBySignal, TrainingError, UsageError
from pipeline.evaluation.operating_points import OperatingRule, choose
from pipeline.package.package import load_package
from pipeline.preprocessing.cache import PreparedCache
from pipeline.preprocessing.transforms import prepare
from pipeline.stages import train as stage
from pipeline.stages.stopping import stopping_on_sigterm
from pipeline.stages.train import Config, train
from pipeline.tracking.journal import journal_path
from pipeline.training.run_folder import alone

MANIFEST = make_manifest(train=36, validation=18)


def make_config(out: Path, **changes: Any) -> Config:
    settings: dict[str, Any] = {
        "manifest": "/somewhere/secret/cohort.csv",
        "out": str(out),
        "seed": 3,
        "processes": 0,
        "network": {"backbone": {"kind": "resnet", "width": 8}},
        "plan": {"precision": "32", "batch_size": 6},
        "training": {"epochs": 3, "accelerator": "cpu", "learning_rate": 0.01, "warmup_epochs": 1},
        "data": {"augmentation": {"flip_axes": [0], "shift": 1}},
        "operating_point": {"rule": "sensitivity", "at_least": 0.9},
        "tta_flips": [0],
        "tracking": {"system_seconds": 0},
    }
    for name, value in changes.items():
        settings[name] = settings[name] | value if isinstance(value, dict) else value
    return Config.from_mapping(settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    outcome = train(make_config(out), MANIFEST, read)
    assert outcome.exit_code == 0
    assert any(line.startswith("Best epoch") for line in outcome.lines)
    assert any(line.startswith("Against overfitting: depth 10 ") for line in outcome.lines)
    return out


def test_package_holds_what_was_decided(trained: Path) -> None:
    package = load_package(trained / "package")
    assert package.network.backbone.model_dump().items() >= {"depth": 10, "stem": "small", "width": 8}.items()
    assert package.manifest_digest == MANIFEST.digest == package.fingerprint.manifest
    assert package.tta_flips == (0,)
    assert package.card.data.labels["train"] == {
        "lesion": {"no": 12, "yes": 24},
        "size": {"none": 12, "small": 12, "large": 12},
    }
    assert {entry.finding for entry in package.card.scores} == {"lesion", "size"}
    assert all(score.low is not None for score in package.card.scores[0].scores if score.metric == "auroc")
    assert not (trained / "package.draft").exists()
    assert package.scope is not None
    assert (package.scope.cases, package.scope.validation, package.scope.modality) == (36, 18, "CT")
    assert package.scope.features is not None and package.scope.validation_refused <= 1
    assert package.card.scope == package.scope.lines


def test_operating_point_fits_what_the_engine_says(trained: Path) -> None:
    package = load_package(trained / "package")
    cases = MANIFEST.of(Split.VALIDATION)
    engine = TorchConfig().build(package)
    cache = PreparedCache(trained / "cache", package.plan)
    logits = np.concatenate([engine.answer(np.asarray(cache.load(case))[None]).logits for case in cases])
    (point,) = package.operating_points
    temperature = next(entry.temperature for entry in package.calibration if entry.finding == "lesion")
    positive = 1 / (1 + np.exp(-logits[:, 0].astype(np.float64) / temperature))
    truth = encode_labels(cases, FINDINGS[:1])[:, 0]
    again = choose(
        FINDINGS[0],
        np.stack([1 - positive, positive], axis=1),
        truth,
        OperatingRule.model_validate({"rule": "sensitivity", "at_least": 0.9}),
    )
    assert again is not None and again.threshold == pytest.approx(point.threshold, rel=1e-9)
    assert (positive >= point.threshold)[truth == 1].mean() >= 0.9


def test_a_network_that_learned_from_half_voxels_is_asked_with_them(tmp_path: Path) -> None:
    """What is predicted is prepared by the package's plan; training and evaluation read the cache."""
    config = make_config(
        tmp_path / "run", plan={"voxels": "float16"}, training={"epochs": 1}, tracking={"enabled": False}
    )
    train(config, MANIFEST, read)
    plan = load_package(tmp_path / "run" / "package").plan
    cache = PreparedCache(tmp_path / "run" / "cache", plan)
    for case in MANIFEST.of(Split.VALIDATION):
        held = np.load(cache.path(case))
        assert held.dtype == np.float16
        np.testing.assert_array_equal(prepare(read(case), plan), held)


def test_what_contradicts_a_finding_is_logged_and_stands_in_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def told(
        findings: Sequence[Finding], augmentation: AugmentationChoice, tta_flips: Sequence[int]
    ) -> tuple[str, ...]:
        assert [finding.name for finding in findings] == ["lesion", "size"]
        return (f"mirrored {augmentation.flip_axes} {tta_flips}",)

    monkeypatch.setattr(stage, "mirrored_sides", told)
    monkeypatch.setattr(stage, "load_manifest", lambda path: MANIFEST)
    monkeypatch.setattr(stage, "load_files", lambda path: {})
    monkeypatch.setattr(CaseReader, "read", lambda self, case: read(case))
    stage.run(make_config(tmp_path / "run", training={"epochs": 1}, tracking={"enabled": False}))
    assert "mirrored (0,) (0,)" in load_package(tmp_path / "run" / "package").card.notes
    assert "mirrored (0,) (0,)" in [line.message for line in caplog.records if line.levelname == "WARNING"]


@pytest.mark.parametrize("changes", [{"tta_flips": [3]}, {"data": {"augmentation": {"flip_axes": [0, 5]}}}])
def test_an_axis_that_images_do_not_have_is_refused_before_training(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(TrainingError, match=r"images of 3 dimensions have no axis [35]\."):
        train(make_config(tmp_path / "run", tracking={"enabled": False}, **changes), MANIFEST, read)
    assert not (tmp_path / "run" / "cache").exists()


def test_mlflow_holds_the_run_and_the_model(trained: Path) -> None:
    client = MlflowClient(f"sqlite:///{trained.parent / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'resdx'")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["training.epochs"] == "3"
    assert run.data.params["network.backbone.depth"] == "10"
    assert run.data.params["data.augmentation.flip_axes"] == "[0]"
    assert run.data.tags["resdx.manifest"] == MANIFEST.digest
    assert [m.step for m in client.get_metric_history(run.info.run_id, "val/auroc")] == [1, 2, 3]
    (version,) = client.search_model_versions("name = 'resdx'")
    assert version.tags["resdx.model"] == load_package(trained / "package").digest
    names = {entry.path for entry in client.list_artifacts(run.info.run_id, "experiment")}
    assert names >= {"experiment/config.yaml", "experiment/plan.json", "experiment/precision.json"}
    charts = {entry.path for entry in client.list_artifacts(run.info.run_id, "depth")}
    assert charts == {"depth/depth.png", "depth/depth.csv"}
    words = (trained / "watched" / "overfitting.txt").read_text().splitlines()
    assert [entry.path for entry in client.list_artifacts(run.info.run_id, "overfitting")] == [
        "overfitting/overfitting.txt"
    ]
    assert run.data.tags["resdx.overfitting"] == words[0]
    assert "32 of 36 training and 18 validation cases" in words[0]
    assert any("flips of axes 0 and shift 1" in line for line in words)
    assert set(words) <= set(load_package(trained / "package").card.notes)
    assert [m.step for m in client.get_metric_history(run.info.run_id, "overfit/gap")] == [1, 2, 3]
    assert {f"depth/gradient/{name}" for name in ("stem", "stage1", "stage4", "heads")} <= set(run.data.metrics)
    assert "secret" not in journal_path(trained).read_text()
    reviewed = {entry.path.removeprefix("review/") for entry in client.list_artifacts(run.info.run_id, "review")}
    assert reviewed == {
        "inputs.png", "curves.png", "hardest.csv", "hardest.png", "confusion_lesion.png", "confusion_size.png"
    }  # fmt: skip
    inputs = {entry.tags[0].value: entry.dataset for entry in run.inputs.dataset_inputs}
    assert set(inputs) == {"training", "validation"}
    assert {MANIFEST.digest.startswith(dataset.digest) for dataset in inputs.values()} == {True}
    assert json.loads(inputs["training"].profile) == {
        "cases": 36,
        "patients": 36,
        "series": 36,
        "labels": {"lesion": {"no": 12, "yes": 24}, "size": {"none": 12, "small": 12, "large": 12}},
    }
    assert run.data.tags["resdx.environment"] and len(run.data.tags["resdx.code"]) == 64
    assert [entry.path for entry in client.list_artifacts(run.info.run_id, "environment")] == [
        "environment/requirements.txt"
    ]
    note = run.data.tags["mlflow.note.content"]
    assert "| train | 36 | 36 |" in note and "optimistic" in note and words[0] in note
    assert {"val/auroc/size/small", "val/sensitivity/lesion/yes", "seconds/wait_for_data"} <= set(run.data.metrics)
    assert "secret" not in (trained / "tracking" / "config.yaml").read_text()


def test_the_saved_config_runs_again(trained: Path) -> None:
    saved = yaml.safe_load((trained / "config.yaml").read_text())
    assert Config.from_mapping(saved) == make_config(trained)


def test_a_finished_run_changes_nothing_when_repeated(trained: Path) -> None:
    before = load_package(trained / "package").digest
    train(make_config(trained, tracking={"registered_model": "other"}), MANIFEST, read)
    assert load_package(trained / "package").digest == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4, "training": {"epochs": 5}}, r"seed: was 3, is 4\n  - training.epochs: was 3, is 5"),
        ({"resume": False}, "resume"),
    ],
)
def test_a_folder_of_another_run_is_refused(trained: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        train(make_config(trained, **changes), MANIFEST, read)


def test_another_manifest_is_refused(trained: Path) -> None:
    with pytest.raises(UsageError, match="manifest digest: was"):
        train(make_config(trained), make_manifest(train=33, validation=18), read)
    client = MlflowClient(f"sqlite:///{trained.parent / 'mlflow.db'}")
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert run.info.status == "FINISHED"  # a mistaken command leaves the record of the run as it was


def test_checkpoints_of_unknown_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UsageError, match=r"settings\.json is gone"):
        train(make_config(tmp_path), MANIFEST, read)


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(UsageError, match="Another process"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_killed_runs_give_the_model_of_an_uninterrupted_one(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    left = [40]

    def kicking(case: Case) -> Volume:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGTERM)
        return read(case)

    with pytest.raises(StoppedBySignal), stopping_on_sigterm():
        train(make_config(out), MANIFEST, kicking)  # while the fingerprint is measured or the cache filled
    original = stage.fit_network
    with pytest.MonkeyPatch.context() as patch:

        def stopped(*arguments: Any) -> Any:
            original(*arguments)
            raise StoppedBySignal("between training and packaging")

        patch.setattr(stage, "fit_network", stopped)
        with pytest.raises(StoppedBySignal):
            train(make_config(out), MANIFEST, read)
    train(make_config(out), MANIFEST, read)
    one, other = (json.loads((folder / "package" / "digests.json").read_text())["files"] for folder in (out, trained))
    assert one["weights.safetensors"] == other["weights.safetensors"]
    assert one["package.json"] == other["package.json"]


def test_unreadable_cases_are_left_out_and_listed(tmp_path: Path) -> None:
    def picky(case: Case) -> Volume:
        if case.case in {"C3", "C40"}:
            raise RejectedInput("CHANGED", "not the file that was ingested")
        return read(case)

    out = tmp_path / "run"
    outcome = train(
        make_config(out, training={"epochs": 1}, tracking={"enabled": False, "sample_images": False}), MANIFEST, picky
    )
    assert outcome.exit_code == EXIT_SOME_REJECTED
    assert not list((out / "review").glob("hardest.png")) + list((out / "review").glob("inputs.png"))
    rows = (out / "rejections.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["C3", "C40"]


def doubled(manifest: Manifest, **changes: Any) -> Manifest:
    case = manifest.of(Split.TRAIN)[0]
    copy = case.model_copy(update={"case": "copy", "patient": "other", "split": Split.TEST})
    return manifest.model_copy(update={"cases": (*manifest.cases, copy), **changes})


def test_equal_pixels_in_two_splits_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(LeakError, match=r"1 leak between splits:\n  - the same pixels: "):
        stage.check_manifest(doubled(MANIFEST), None)
    stage.check_manifest(doubled(MANIFEST, acknowledged_leaks=1), None)


def test_a_manifest_without_validation_is_refused() -> None:
    with pytest.raises(TrainingError, match="no validation case"):
        stage.check_manifest(make_manifest(validation=0), None)
