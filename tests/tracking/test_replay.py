import math
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from pipeline.errors import TrackingError
from pipeline.tracking.client import connect, reporting
from pipeline.tracking.journal import FOLDER, FileJournal, read_journal
from pipeline.tracking.replay import replay, tracked_run
from pipeline.tracking.settings import Store, TrackingSettings

SETTINGS = TrackingSettings(experiment="phantoms")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests of this module: making a SQLite store takes a second."""
    return tmp_path_factory.mktemp("runs")


def client_of(folder: Path) -> MlflowClient:
    return connect(SETTINGS.store(folder / "any"))


def history(client: MlflowClient, run: str, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run, name)]


def write_run(folder: Path, name: str) -> FileJournal:
    journal = FileJournal(folder / name)
    journal.params({"seed": 7, "config": "x" * 251})
    journal.tags({"manifest": "abc"})
    for step in range(3):
        journal.metrics({"val/loss": 1.0 / (step + 1), "broken": math.nan}, step)
    return journal


def test_everything_arrives_with_the_time_it_was_measured(folder: Path) -> None:
    journal = write_run(folder, "first")
    (folder / "first" / "roc.png").write_bytes(b"png")
    journal.artifact(folder / "first" / "roc.png", "plots")
    journal.end("FINISHED")

    run_id = replay(folder / "first", SETTINGS)

    client = client_of(folder)
    run = client.get_run(run_id)
    records = read_journal(folder / "first")
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    assert (run.info.start_time, run.info.end_time) == (records[0].time_ms, records[-1].time_ms)
    assert run.data.params == {"seed": "7"}
    assert run.data.tags["manifest"] == "abc"
    assert history(client, run_id, "val/loss") == [(0, 1.0), (1, 0.5), (2, 1.0 / 3.0)]
    assert math.isnan(run.data.metrics["broken"])
    assert [m.timestamp for m in client.get_metric_history(run_id, "val/loss")] == [r.time_ms for r in records[3:6]]
    assert client.list_artifacts(run_id, "plots")[0].path == "plots/roc.png"
    assert client.list_artifacts(run_id, "params")[0].file_size == 251
    assert tracked_run(folder / "first", SETTINGS) == run_id


def test_replayed_again_after_any_loss_of_progress_nothing_is_doubled(folder: Path, tmp_path: Path) -> None:
    journal = write_run(folder, "again")
    package = tmp_path / "package"
    package.mkdir()
    (package / "package.json").write_text("{}")
    journal.model(package, "d1", name="again", alias="candidate")
    journal.end("FINISHED")
    run_id = replay(folder / "again", SETTINGS)
    (progress,) = (folder / "again" / FOLDER).glob("replayed-*.json")

    progress.write_text(progress.read_text().replace(f'"done":{len(read_journal(folder / "again"))}', '"done":0'))
    assert replay(folder / "again", SETTINGS) == run_id
    progress.unlink()
    assert replay(folder / "again", SETTINGS) == run_id

    client = client_of(folder)
    assert history(client, run_id, "val/loss") == [(0, 1.0), (1, 0.5), (2, 1.0 / 3.0)]
    assert [version.version for version in client.search_model_versions("name = 'again'")] == [1]
    experiment = client.get_experiment_by_name("phantoms")
    assert experiment is not None
    assert len(client.search_runs([experiment.experiment_id], "attributes.run_name = 'again'")) == 1
    assert len(client.search_logged_models([experiment.experiment_id], f"source_run_id = '{run_id}'")) == 1


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(folder: Path) -> None:
    journal = write_run(folder, "resumed")
    journal.end("KILLED")
    journal.close()
    run_id = replay(folder / "resumed", SETTINGS)
    client = client_of(folder)
    assert client.get_run(run_id).info.status == "KILLED"

    again = FileJournal(folder / "resumed")
    again.params({"seed": 7, "epochs": 9})
    again.params({"seed": 8})
    again.metrics({"val/loss": 0.1}, 3)

    assert replay(folder / "resumed", SETTINGS) == run_id
    run = client.get_run(run_id)
    assert run.info.status == "RUNNING"
    assert run.data.params == {"seed": "7", "epochs": "9"}
    assert run.data.tags["changed.seed"] == "8"
    assert history(client, run_id, "val/loss")[3:] == [(3, 0.1)]


def test_a_step_that_a_resumed_run_measures_again_stands_once(folder: Path) -> None:
    journal = write_run(folder, "repeated")
    run_id = replay(folder / "repeated", SETTINGS)
    journal.close()

    again = FileJournal(folder / "repeated")
    again.metrics({"val/loss": 1.0 / 3.0, "new": 1.0}, 2)
    again.metrics({"val/loss": 0.25}, 3)
    replay(folder / "repeated", SETTINGS)

    client = client_of(folder)
    assert history(client, run_id, "val/loss") == [(0, 1.0), (1, 0.5), (2, 1.0 / 3.0), (3, 0.25)]
    assert history(client, run_id, "new") == [(2, 1.0)]


def test_an_artifact_that_changed_since_is_not_passed_off_as_the_recorded_one(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = FileJournal(folder / "changed")
    plot = folder / "changed" / "plot.svg"
    plot.write_text("old")
    journal.artifact(plot)
    plot.write_text("new")

    run_id = replay(folder / "changed", SETTINGS)
    assert client_of(folder).list_artifacts(run_id) == []
    assert "plot.svg is no longer what the run recorded" in caplog.text

    journal.artifact(plot)
    replay(folder / "changed", SETTINGS)
    assert [artifact.path for artifact in client_of(folder).list_artifacts(run_id)] == ["plot.svg"]


def test_more_metrics_than_one_request_carries(folder: Path) -> None:
    journal = FileJournal(folder / "many")
    values = {f"group {number} (a&b)": float(number) for number in range(600)}
    journal.metrics(values, 0)
    journal.metrics(values, 1)

    run_id = replay(folder / "many", SETTINGS)

    metrics = client_of(folder).get_run(run_id).data.metrics
    assert len(metrics) == 600
    assert metrics["group 599 _a_b_"] == 599.0


def test_a_deleted_experiment_is_named(folder: Path) -> None:
    client = client_of(folder)
    client.delete_experiment(client.create_experiment("gone"))
    FileJournal(folder / "orphan")

    with pytest.raises(TrackingError, match="'gone' was deleted"):
        replay(folder / "orphan", SETTINGS.model_copy(update={"experiment": "gone"}))


def test_a_password_in_the_uri_is_in_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    FileJournal(tmp_path / "run")
    settings = TrackingSettings(uri="http://jane:hunter2@127.0.0.1:9")

    with pytest.raises(TrackingError, match=r"resdx sync /.*/run") as caught:
        replay(tmp_path / "run", settings)
    assert "hunter2" not in str(caught.value)


def test_a_store_that_asks_for_a_password_is_told_how_to_be_given_one() -> None:
    asked = MlflowException("API request failed with error code 401 != 200")

    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_PASSWORD"), reporting(Store(uri="http://server"), ""):
        raise asked
    with pytest.raises(TrackingError) as told, reporting(Store(uri="http://jane:wrong@server"), ""):
        raise asked
    assert "MLFLOW_TRACKING_PASSWORD" not in str(told.value)


@pytest.mark.parametrize("alias", ["latest", "v3", "a b"])
def test_aliases_that_mlflow_refuses_are_refused_at_once(alias: str) -> None:
    with pytest.raises(ValueError, match="alias"):
        TrackingSettings(alias=alias)
