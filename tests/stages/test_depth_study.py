"""``resdx depth-study`` on a small cohort: whole, resumable, and without a patient on its page."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
from benchmarks.depth import SETTINGS as DEPTH_SETTINGS
from mlflow import MlflowClient
from phantoms.spheres import make_manifest, read

from pipeline.data.settings import AugmentationChoice
from pipeline.domain.plan import Augmentation
from pipeline.errors import EXIT_OK, ConfigError, StoppedBySignal, TrainingError, UsageError
from pipeline.stages import depth_study as stage
from pipeline.stages.depth_study import Config, study
from pipeline.training.study import costs, report
from pipeline.training.study.memory import Step, peak_of_step
from pipeline.training.study.record import Record, Shape
from pipeline.training.study.results import COLUMNS, Study

MANIFEST = make_manifest(ndim=2)
SHIPPED = sorted((Path(__file__).resolve().parents[2] / "configs" / "depth-study").glob("*.yaml"))


def make_config(out: Path, **changes: Any) -> Config:
    settings: dict[str, Any] = {
        "manifest": "/somewhere/secret/cohort.csv",
        "out": str(out),
        "depths": [8, 14],
        "backbone": {"kind": "resnet", "width": 4, "stages": 3, "shortcut": "A", "zero_init": False},
        "course": {"steps": 4, "batch_size": 8, "warmup_steps": 1, "measure_every": 2, "gradient_steps": [0, 2]},
        "plan": {"precision": "32"},
        "processes": 0,
        "resamples": 50,
        "tracking": {"enabled": False, "system_seconds": 0},
    }
    return Config.from_mapping(settings | changes)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process for each network and pictures take seconds; the tests that are about them have their own."""
    monkeypatch.setattr(costs, "_peak", lambda step: 7 * 2**20)
    monkeypatch.setattr(report, "save_pictures", lambda folder, records: ())


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("study") / "depth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "_peak", lambda step: 7 * 2**20)
        outcome = study(make_config(out, tracking={"experiment": "depths", "system_seconds": 0}), MANIFEST, read)
    assert outcome.exit_code == EXIT_OK
    assert any(line.startswith("Recommended: ResNet-") for line in outcome.lines)
    return out


def test_every_network_stands_in_json_and_table(studied: Path) -> None:
    made = Study.model_validate_json((studied / "study.json").read_bytes())
    shapes = [Shape(depth, residual, "batch") for depth in (8, 14) for residual in (True, False)]
    assert [record.shape for record in made.records] == shapes == [cost.shape for cost in made.costs.networks]
    rows = list(csv.DictReader((studied / "study.csv").open(encoding="utf-8")))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 4
    for record, row in zip(made.records, rows, strict=True):
        assert (row["depth"], row["twin"]) == (
            str(record.shape.depth),
            "residual" if record.shape.residual else "plain",
        )
        assert float(row["final_train_loss"]) == record.course.points[-1].train_loss
        assert record.auroc is not None and float(row["auroc"]) == record.auroc.value
        assert record.course.best is not None and record.auroc.value == pytest.approx(record.course.best.auroc)
        assert record.auroc.low is not None and record.auroc.low <= record.auroc.value <= record.auroc.high
        assert record.standard_error is not None and record.standard_error > 0
        assert int(row["parameters"]) > 0 and float(row["latency_ms"]) > 0
    assert made.recommendation.shape is not None and made.recommendation.shape.residual


def test_the_page_is_whole_and_names_nobody(studied: Path) -> None:
    page = (studied / "study.html").read_text(encoding="utf-8")
    text = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"https?://|<script|/somewhere|secret", text)
    assert not re.search(r"\b[CPST]\d+\b", text)  # no case, patient, series or study of the cohort
    assert "ResNet-14" in text and "Plain-14" in text and "7.0 MB" in text and "4 networks" in text
    for name in ("losses", "gradients"):
        assert (studied / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (studied / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_mlflow_holds_a_curve_for_each_network_and_the_pictures(studied: Path) -> None:
    store = MlflowClient(f"sqlite:///{studied.parent / 'mlflow.db'}")
    (run,) = store.search_runs([store.get_experiment_by_name("depths").experiment_id])
    made = Study.model_validate_json((studied / "study.json").read_bytes())
    for record in made.records:
        curve = store.get_metric_history(run.info.run_id, f"train_loss/{record.name}")
        assert [(point.step, point.value) for point in curve] == [
            (point.step, pytest.approx(point.train_loss)) for point in record.course.points
        ]
    names = {entry.path for entry in store.list_artifacts(run.info.run_id, "study")}
    assert {f"study/{name}" for name in ("losses.png", "gradients.png", "study.html", "study.json")} <= names
    assert "/somewhere" not in str(run.to_dictionary())


def test_a_study_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(tmp_path / "s", depths=[8])
    train, trained = stage.train_one, []

    def stopping(*given: Any) -> Record:
        if trained:
            raise StoppedBySignal("Stopped by SIGTERM.", "")
        trained.append(given[3].name)
        return train(*given)

    monkeypatch.setattr(stage, "train_one", stopping)
    with pytest.raises(StoppedBySignal):
        study(config, MANIFEST, read)
    kept = (tmp_path / "s" / "networks" / "residual-8-batch-seed0" / "network.json").read_bytes()

    def counting(*given: Any) -> Record:
        trained.append(given[3].name)
        return train(*given)

    monkeypatch.setattr(stage, "train_one", counting)
    study(config, MANIFEST, read)
    assert trained == ["residual-8-batch", "plain-8-batch"]
    assert kept == (tmp_path / "s" / "networks" / "residual-8-batch-seed0" / "network.json").read_bytes()
    with pytest.raises(UsageError, match=r"course\.steps"):
        study(make_config(tmp_path / "s", depths=[8], course={"steps": 5}), MANIFEST, read)
    study(make_config(tmp_path / "s", depths=[8], seeds=[0, 1], twins=["plain"]), MANIFEST, read)
    assert trained[2:] == ["plain-8-batch"]
    (tmp_path / "s" / "networks" / "plain-8-batch-seed1" / "network.json").write_text("{", encoding="utf-8")
    with pytest.raises(TrainingError, match="damaged"):
        study(make_config(tmp_path / "s", depths=[8], seeds=[1], twins=["plain"]), MANIFEST, read)


def test_one_network_that_diverges_does_not_end_the_study(tmp_path: Path) -> None:
    course = {"steps": 6, "learning_rate": 1e30, "warmup_steps": 0, "measure_every": 2, "batch_size": 8}
    outcome = study(make_config(tmp_path / "s", norms=["none"], depths=[8], course=course), MANIFEST, read)
    made = Study.model_validate_json((tmp_path / "s" / "study.json").read_bytes())
    assert len(made.records) == 2 and all(record.course.diverged_at for record in made.records)
    assert sum("not finite at step" in line for line in outcome.lines) == 2


def test_twins_begin_alike_unless_something_else_is_asked_for() -> None:
    config = make_config(Path("out"), backbone={"kind": "resnet", "width": 4})
    chosen = config.backbone_of(Shape(14, False, "group"))
    assert (chosen.shortcut, chosen.zero_init, chosen.width) == ("A", False, 4)
    assert (chosen.depth, chosen.residual, chosen.norm) == (14, False, "group")
    assert make_config(Path("out"), backbone={"shortcut": "B"}).backbone_of(Shape(8, True, "batch")).shortcut == "B"


def test_a_whole_configuration_can_be_given_again() -> None:
    config = make_config(Path("out"))
    assert Config.from_mapping(config.model_dump(mode="json")) == config


def test_mistakes_are_named() -> None:
    for changes, message in (
        ({"backbone": {"kind": "resnet", "depth": 18}}, "depth is what the study varies"),
        ({"backbone": {"kind": "resnet", "norm": "group"}}, "norm is what the study varies"),
        ({"depths": [8, 8]}, "names one twice"),
        ({"depths": [9]}, "9"),
        ({"depths": []}, "depths"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_config(Path("out"), **changes)


def test_memory_of_a_step_is_the_networks_own() -> None:
    """In a process of its own, and at least what must be held: weights, gradients and momentum."""
    networks = {
        depth: make_config(Path("out"), depths=[depth], backbone={"kind": "resnet", "width": 16}).backbone_of(
            Shape(depth, True, "batch")
        )
        for depth in (8, 32)
    }
    small, large = (
        costs.imap(
            peak_of_step, [Step(settings, MANIFEST.findings, (32, 1, 28, 28), 1)], processes=1, timeout_seconds=60
        )
        for settings in networks.values()
    )
    low, high = next(small).value, next(large).value
    assert low is not None and high is not None
    images = 32 * 28 * 28 * 4 * 16  # one map of the first stage; each of its convolutions and norms keeps one
    assert low > 3 * 2 * images and high > low + 3 * 8 * images
    assert high < 2**30


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_run(path: Path, tmp_path: Path) -> None:
    tiny = ["depths=[8]", "seeds=[0]", "course.steps=2", "course.measure_every=2", "course.batch_size=8"]
    tiny += ["backbone.width=4", "processes=0", "tracking.enabled=false", "tracking.system_seconds=0"]
    config = Config.load(path, [f"manifest={tmp_path / 'm.csv'}", f"out={tmp_path / 'run'}", *tiny])
    assert study(config, MANIFEST, read).exit_code == EXIT_OK
    assert json.loads((tmp_path / "run" / "study.json").read_text())["settings"]["course.learning_rate"] == "0.05"


def test_the_benchmark_of_depth_changes_no_image_whatever_the_plan_would() -> None:
    planned = Augmentation(rotation=10, scale=0.1, shift=2, intensity_scale=0.1, intensity_shift=0.1)
    given: Any = DEPTH_SETTINGS["data"]
    assert not AugmentationChoice.model_validate(given["augmentation"]).settled(planned).changes
