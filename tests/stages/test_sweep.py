"""The search for settings: real trainings once, and a made-up one where only the search is looked at."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from phantoms.spheres import make_manifest, read

from pipeline.domain.case import Split
from pipeline.errors import ConfigError, OutdoneError, StoppedBySignal, TrainingError, UsageError
from pipeline.stages import train as training
from pipeline.stages.sweep import search
from pipeline.stages.sweep_settings import Config
from pipeline.stages.sweep_trials import check_space, config_of_trial, folder_of, score_of
from pipeline.tracking.journal import read_journal
from pipeline.tracking.records import Ended
from pipeline.training.fitting import Fitted
from pipeline.training.run_folder import alone
from pipeline.training.search.settings import Choice
from pipeline.training.search.shown import shown_rows, shown_space
from pipeline.training.search.trials import TrialRow

MANIFEST = make_manifest(train=20, validation=10, ndim=2)
BASE: dict[str, Any] = {
    "processes": 0,
    "network": {"backbone": {"kind": "resnet", "depth": 8, "width": 4}},
    "plan": {"precision": "32", "batch_size": 10},
    "training": {
        "epochs": 1,
        "accelerator": "cpu",
        "warmup_epochs": 0,
        "memory_format": "contiguous",
        "depth_watch": {"enabled": False},
        "overfitting_watch": {"enabled": False},
    },
    "tracking": {"system_seconds": 0, "replay_seconds": 600},
}
SPACE: dict[str, Any] = {
    "training.learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "data.augmentation.flip_axes": {"kind": "categorical", "choices": [[], [0], [0, 1]]},
}


def make_config(folder: Path, name: str = "search", tracked: bool = False, **changes: Any) -> Config:
    base = folder / "base.yaml"
    base.parent.mkdir(parents=True, exist_ok=True)
    base.write_text(yaml.safe_dump(BASE | ({} if tracked else {"tracking": {"enabled": False}})))
    given = {"base": str(base), "manifest": "/somewhere/secret/cohort.csv", "out": str(folder / name), "space": SPACE}
    return Config.from_mapping(given | {"trials": 8, "startup_trials": 4} | changes)


Rate = Callable[[training.Config], float]


def quality(config: training.Config) -> float:
    """Best at a rate of 0.01 with flips of axis 0; at most 1."""
    return 1 / (1 + abs(training_rate(config) - 0.01) * 50) - 0.1 * (config.data.augmentation.flip_axes != (0,))


def training_rate(config: training.Config) -> float:
    return config.training.learning_rate


class Made:
    """Stands for a training of three epochs; `stop` may raise at the start of one."""

    def __init__(self, stop: Callable[[training.Config], None] = lambda config: None) -> None:
        self.trained: list[str] = []
        self._stop = stop

    def __call__(self, config: training.Config, manifest: object, read: object, watch: Any = None) -> None:
        self._stop(config)
        history = [
            {"epoch": epoch, "val/loss": 1.0, "val/auroc": quality(config) * epoch / 3} for epoch in (1.0, 2.0, 3.0)
        ]
        for entry in history if watch else ():
            watch(int(entry["epoch"]), entry)
        made = Fitted(monitor="auroc", best_epoch=3, history=tuple(history), stopped_early=False)
        (config.out / "checkpoints").mkdir(parents=True, exist_ok=True)
        (config.out / "checkpoints" / "fitted.json").write_text(made.model_dump_json())
        self.trained.append(config.out.name)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    found = Made()
    monkeypatch.setattr(training, "train", found)
    return found


def rows(config: Config) -> list[dict[str, str]]:
    return list(csv.DictReader((config.out / "trials.csv").open(encoding="utf-8")))


def test_a_search_trains_tracks_and_leaves_settings_that_train(tmp_path: Path) -> None:
    config = make_config(tmp_path, tracked=True, trials=2, settings={"training.label_smoothing": 0.1})

    outcome = search(config, MANIFEST, read)

    table = rows(config)
    assert [row["state"] for row in table] == ["complete", "complete"]
    best = max(table, key=lambda row: float(row["value"]))
    for number, row in enumerate(table):
        fitted = Fitted.model_validate_json((folder_of(config, number) / "checkpoints" / "fitted.json").read_bytes())
        assert float(row["value"]) == fitted.best["val/auroc"]
    chosen = training.Config.load(config.out / "best.yaml")
    assert chosen.training.learning_rate == float(best["training.learning_rate"])
    assert list(chosen.data.augmentation.flip_axes) == json.loads(best["data.augmentation.flip_axes"])
    assert chosen.training.label_smoothing == 0.1 and chosen.tracking.registered_model == "resdx"
    assert any(line.startswith(f"Best: trial {best['trial']}, validation auroc 0.") for line in outcome.lines)
    assert len(list((config.out / "cache").rglob("*.npy"))) == 30  # one plan: each case is prepared once for all

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'resdx'")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"search", "trial-0000", "trial-0001"}
    whole = runs.pop("search")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {whole.info.run_id}
    assert whole.info.status == "FINISHED" and whole.data.tags["resdx.best_trial"] == f"trial-{int(best['trial']):04d}"
    assert whole.data.metrics["best/value"] == pytest.approx(float(best["value"]))
    names = {entry.path for entry in client.list_artifacts(whole.info.run_id, "search")}
    assert names == {"search/history.png", "search/trials.csv", "search/sweep.html"}
    assert "secret" not in str(whole.to_dictionary())
    page = (config.out / "sweep.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|<script|secret|\b[CPST]\d+\b", re.sub(r"data:image/png;base64,[\w+/=]+", "", page))


def test_an_interrupted_search_asks_what_an_uninterrupted_one_does(
    tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_config(tmp_path, "whole")
    search(whole, MANIFEST, read)
    assert made.trained == [f"trial-{number:04d}" for number in range(8)]
    assert len({row["training.learning_rate"] for row in rows(whole)}) == 8  # none is asked for twice

    stops = ["trial-0003", "trial-0006"]

    def stop(config: training.Config) -> None:
        if stops and config.out.name == stops[0]:
            stops.pop(0)
            raise StoppedBySignal("Stopped by SIGTERM.", "")

    again = Made(stop)
    monkeypatch.setattr(training, "train", again)
    parts = make_config(tmp_path, "parts")
    for _ in range(2):
        with pytest.raises(StoppedBySignal):
            search(parts, MANIFEST, read)
    search(parts, MANIFEST, read)

    assert again.trained == made.trained  # each once, in the folder that it was in when it was stopped
    drop = ("seconds",)
    assert [{k: v for k, v in row.items() if k not in drop} for row in rows(parts)] == [
        {k: v for k, v in row.items() if k not in drop} for row in rows(whole)
    ]
    search(make_config(tmp_path, "parts", trials=9), MANIFEST, read)  # more trials go on from there
    assert again.trained[8:] == ["trial-0008"]
    assert (parts.out / "importances.png").is_file()


def test_a_trial_of_another_process_is_left_to_it(tmp_path: Path, made: Made) -> None:
    config = make_config(tmp_path, trials=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", Made(lambda config: (_ for _ in ()).throw(StoppedBySignal("", ""))))
        with pytest.raises(StoppedBySignal):
            search(config, MANIFEST, read)
    with alone(folder_of(config, 0)):
        search(config, MANIFEST, read)
    assert made.trained == ["trial-0001", "trial-0002"]
    assert [row["state"] for row in rows(config)] == ["running", "complete", "complete"]
    search(config, MANIFEST, read)
    assert made.trained[2:] == ["trial-0000"]


def test_what_is_behind_at_an_epoch_is_given_up(tmp_path: Path, made: Made) -> None:
    config = make_config(tmp_path, trials=14, pruner="median", pruner_warmup=1)
    search(config, MANIFEST, read)

    table = rows(config)
    pruned = [row for row in table if row["state"] == "pruned"]
    assert pruned and len(pruned) + len(made.trained) == 14
    assert not any(row["state"] == "pruned" for row in table[:5])  # nothing to be behind of yet
    complete = [float(row["value"]) for row in table if row["state"] == "complete"]
    assert all(float(row["value"]) < max(complete) for row in pruned)


def test_a_real_training_that_is_outdone_stops_at_once_and_ends_as_killed(tmp_path: Path) -> None:
    config = make_config(tmp_path, pruner="median", settings={"training.epochs": 3})
    trial = config_of_trial(config, {}, tmp_path / "trial")
    seen: list[int] = []

    def watch(epoch: int, measured: Mapping[str, float]) -> None:
        seen.append(epoch)
        assert 0 <= measured["val/auroc"] <= 1 and measured["val/loss"] > 0
        if epoch == 2:
            raise OutdoneError("others were better", "")

    with pytest.raises(OutdoneError):
        training.train(trial, MANIFEST, read, watch)
    assert seen == [1, 2]
    last = read_journal(trial.out)[-1]
    assert isinstance(last, Ended) and last.status == "KILLED"
    assert not (trial.out / "package").exists()


def test_a_trial_that_fails_costs_one_trial_and_a_base_that_fails_ends_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(config: training.Config) -> None:
        if config.out.name in ("trial-0001", "trial-0002"):
            raise TrainingError("the loss is inf", "")

    monkeypatch.setattr(training, "train", Made(stop))
    config = make_config(tmp_path, trials=4)
    search(config, MANIFEST, read)
    assert [(row["state"], row["reason"]) for row in rows(config)] == [
        ("complete", ""),
        ("failed", "the loss is inf"),
        ("failed", "the loss is inf"),
        ("complete", ""),
    ]

    def fail(config: training.Config) -> None:
        raise TrainingError("nothing works", "")

    monkeypatch.setattr(training, "train", Made(fail))
    with pytest.raises(TrainingError, match="The first 3 trials failed, the last: nothing works"):
        search(make_config(tmp_path, "other"), MANIFEST, read)


def test_folders_of_several_machines_share_one_storage(tmp_path: Path, made: Made) -> None:
    storage = f"journal:{tmp_path / 'shared.log'}"
    given = {"storage": storage, "study": "ours", "trials": 2}
    search(make_config(tmp_path, "one", **given), MANIFEST, read)
    search(make_config(tmp_path, "two", **given | {"trials": 5}), MANIFEST, read)
    assert made.trained == [f"trial-{number:04d}" for number in range(5)]
    assert len(list((tmp_path / "two" / "trials").iterdir())) == 3
    space = {"training.learning_rate": {"kind": "float", "low": 1e-3, "high": 1e-2}}
    with pytest.raises(UsageError, match="another space"):
        search(make_config(tmp_path, "three", **given | {"space": space}), MANIFEST, read)
    with pytest.raises(UsageError, match=r"manifest digest: was"):
        search(make_config(tmp_path, "one", **given), make_manifest(train=21, validation=10, ndim=2), read)


def test_a_folder_that_cannot_be_taken_ends_the_search_and_costs_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "search" / "trials" / "trial-0001" / "members" / "seed0"

    def train(config: training.Config) -> None:
        with alone(config.out / "members" / "seed0"):
            pass

    made = Made(stop=train)
    monkeypatch.setattr(training, "train", made)
    config = make_config(tmp_path, trials=3)
    with alone(taken), pytest.raises(UsageError, match=r"Another process is training in .*trial-0001"):
        search(config, MANIFEST, read)
    assert made.trained == ["trial-0000"]
    search(config, MANIFEST, read)
    assert made.trained == ["trial-0000", "trial-0001", "trial-0002"]
    assert [row["state"] for row in rows(config)] == ["complete"] * 3


def test_a_validation_split_without_the_objective_is_refused_before_the_first_trial(tmp_path: Path, made: Made) -> None:
    cases = [
        case.model_copy(update={"labels": case.labels | {"lesion": "no"}}) if case.split is Split.VALIDATION else case
        for case in MANIFEST.cases
    ]
    manifest = MANIFEST.model_copy(update={"cases": tuple(cases)})
    with pytest.raises(TrainingError, match=r"objective: auroc asks .* no validation case of lesion is yes"):
        search(make_config(tmp_path), manifest, read)
    assert made.trained == []
    search(make_config(tmp_path, objective="loss", trials=1), manifest, read)


def test_weights_are_read_by_name_and_loaded_by_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = [f"/home/jane-doe/{folder}/resnet.pt" for folder in ("a", "b")] + ["/home/jane-doe/c/other.pt"]

    def fail(config: training.Config) -> None:
        if str(config.pretrained.file) == files[0]:
            raise TrainingError(f"{files[0]} is damaged.", "")

    made = Made(stop=fail)
    monkeypatch.setattr(training, "train", made)
    space = {"pretrained.file": {"kind": "categorical", "choices": files}}
    config = make_config(tmp_path, trials=12, startup_trials=12, space=space | SPACE)
    with caplog.at_level("INFO", logger="resdx"):
        outcome = search(config, MANIFEST, read)
    table, page = ((config.out / name).read_text() for name in ("trials.csv", "sweep.html"))
    journal = (config.out / "tracking" / "journal.jsonl").read_text()
    for text in (table, page, journal, "\n".join(outcome.lines).replace(str(config.out), "")):
        assert "jane-doe" not in text
    assert "jane-doe" not in " ".join(r.getMessage() for r in caplog.records if r.levelname == "INFO")
    assert {name in table for name in ("resnet.pt (1)", "resnet.pt (2)", "other.pt")} == {True}
    assert "resnet.pt (1) is damaged" in page
    assert str(training.Config.load(config.out / "best.yaml").pretrained.file) in files[1:]


def test_weights_within_a_choice_of_more_settings_are_read_by_name_too() -> None:
    space = {"pretrained": Choice(kind="categorical", choices=({"file": "/home/jane-doe/a.pt", "axes": "ijk"}, {}))}
    assert shown_space(space)["pretrained"]["choices"] == [{"file": "a.pt", "axes": "ijk"}, {}]
    (row,) = shown_rows([TrialRow(number=0, state="failed", reason="/home/jane-doe/a.pt is damaged")], space)
    assert row.reason == "a.pt is damaged"
    other = {"network.dropout": Choice(kind="categorical", choices=(0.1, None))}
    assert shown_space(other)["network.dropout"]["choices"] == [0.1, None]


def test_a_password_is_neither_kept_nor_told(tmp_path: Path) -> None:
    config = make_config(tmp_path, storage="nonsense+driver://jane:hunter2@host/db")
    with pytest.raises(UsageError, match="cannot be opened") as refused:
        search(config, MANIFEST, read)
    assert "hunter2" not in str(refused.value)
    files = [path for path in config.out.rglob("*") if path.is_file()]
    assert files and all("hunter2" not in path.read_text() for path in files)


def test_a_password_of_the_tracking_is_in_no_file_and_may_be_another_later(tmp_path: Path, made: Made) -> None:
    def settings(password: str) -> dict[str, Any]:
        return {"tracking.uri": f"postgresql://jane:{password}@db/mlflow", "tracking.enabled": False}

    outcome = search(make_config(tmp_path, trials=2, settings=settings("hunter2")), MANIFEST, read)
    assert "are not kept in best.yaml" in outcome.lines[-1]
    out = tmp_path / "search"
    assert training.Config.load(out / "best.yaml").tracking.uri == "postgresql://db/mlflow"
    assert not [path for path in out.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    search(make_config(tmp_path, trials=3, settings=settings("swordfish")), MANIFEST, read)
    search(Config.load(out / "config.yaml", ["trials=4"]), MANIFEST, read)
    assert len(made.trained) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"training.lerning_rate": {"kind": "float", "low": 0.1, "high": 1}}}, "lerning_rate: unknown key"),
        ({"space": {"training.epochs": {"kind": "int", "low": 0, "high": 9}}}, "training.epochs: .* greater than 0"),
        ({"space": {"training.optimizer": {"kind": "categorical", "choices": ["sgd", "lion"]}}}, "training.optimizer"),
        ({"space": {"out": {"kind": "categorical", "choices": ["a", "b"]}}}, "out cannot be searched"),
        ({"settings": {"training": {"devices": 2}}}, "a process for each device"),
        ({"settings": {"folds": 3}, "pruner": "median"}, "pruner: trials of several members"),
        (
            {
                "settings": {"training": {"rate_finder": {"enabled": True}}},
                "space": {"training.learning_rate": {"kind": "float", "low": 0.001, "high": 0.1}},
            },
            "rate_finder: its rate would take the place",
        ),
    ],
)
def test_mistakes_of_the_space_are_found_before_anything_is_trained(
    tmp_path: Path, changes: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_space(make_config(tmp_path, **changes))


@pytest.mark.parametrize(
    "dimension",
    [
        {"kind": "float", "low": 1, "high": 1},
        {"kind": "float", "low": 0, "high": 1, "log": True},
        {"kind": "int", "low": 1, "high": 8, "log": True, "step": 2},
        {"kind": "categorical", "choices": [1]},
        {"kind": "categorical", "choices": [[0], [0]]},
    ],
)
def test_a_dimension_that_cannot_be_searched_is_refused(tmp_path: Path, dimension: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"space\.training\.epochs"):
        make_config(tmp_path, space={"training.epochs": dimension})


def test_the_shipped_search_has_a_valid_space(tmp_path: Path) -> None:
    path = Path(__file__).resolve().parents[2] / "configs" / "sweep" / "breast2d.yaml"
    config = Config.load(path, (), {"manifest": str(tmp_path / "m.csv"), "out": str(tmp_path / "out")})
    check_space(config)


def test_members_are_scored_by_their_mean(tmp_path: Path) -> None:
    for name, value in (("fold1-seed0", 0.8), ("fold2-seed0", 0.9)):
        folder = tmp_path / "members" / name / "checkpoints"
        folder.mkdir(parents=True)
        history = ({"epoch": 1.0, "val/loss": 0.5, "val/auroc": value},)
        fitted = Fitted(monitor="auroc", best_epoch=1, history=history, stopped_early=False)
        (folder / "fitted.json").write_text(fitted.model_dump_json())
    assert score_of(tmp_path, "auroc") == pytest.approx(0.85)
    with pytest.raises(TrainingError, match="has no auroc"):
        score_of(tmp_path / "empty", "auroc")


WORKER = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from stages.test_sweep import MANIFEST, make_config
from phantoms.spheres import read
from pipeline.stages.sweep import search
search(make_config(Path(sys.argv[1]), trials=6), MANIFEST, read)
"""


@pytest.mark.long
def test_two_processes_share_one_search(tmp_path: Path) -> None:
    make_config(tmp_path)
    tests = Path(__file__).resolve().parents[1]
    code = WORKER.format(path=[str(tests), str(tests.parent)])
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    logs = [worker.communicate(timeout=280)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], logs
    config = make_config(tmp_path, trials=6)
    search(config, MANIFEST, read)
    assert [row["state"] for row in rows(config)] == ["complete"] * 6
    assert len({row["training.learning_rate"] for row in rows(config)}) == 6
