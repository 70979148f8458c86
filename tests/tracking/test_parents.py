"""Runs under runs: folds, seeds and trials."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipeline.errors import TrackingError
from pipeline.stages import sync
from pipeline.tracking.client import connect
from pipeline.tracking.live import tracked
from pipeline.tracking.replay import replay, tracked_run
from pipeline.tracking.settings import TrackingSettings, load_settings

AWAY = TrackingSettings(enabled=False, system_seconds=0, experiment="family")
"""Nothing is replayed while such a run goes on."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests of this module: making a SQLite store takes a second."""
    return tmp_path_factory.mktemp("families")


def family(parent: Path, *children: str) -> None:
    """A parent that measures on its own, and children within its folder."""
    with tracked(parent, AWAY) as journal:
        for number, name in enumerate(children):
            settings = AWAY.model_copy(update={"parent": str(parent), "experiment": "ignored"})
            with tracked(parent / name, settings) as of_child:
                of_child.metrics({"val/auroc": 0.5 + number}, 1)
        journal.metrics({"mean/val/auroc": 0.75}, 1)


def client_of(folder: Path) -> MlflowClient:
    return connect(TrackingSettings().store(folder / "any"))


def runs_of(folder: Path, parent: str) -> dict[str, Run]:
    client = client_of(folder)
    experiment = client.get_experiment_by_name("family")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'")
    return {run.info.run_name: run for run in found}


@pytest.mark.parametrize("order", [("", "one", "two"), ("one", "", "two"), ("two", "one", "")])
def test_the_parent_is_there_whichever_is_replayed_first(folder: Path, order: tuple[str, ...]) -> None:
    top = folder / "-".join(name or "top" for name in order)
    family(top, "one", "two")

    for name in order:
        sync.run(sync.Config(run=top / name))

    parent = tracked_run(top, AWAY)
    assert parent is not None
    children = runs_of(folder, parent)
    assert {name: run.data.metrics for name, run in children.items()} == {
        "one": {"val/auroc": 0.5},
        "two": {"val/auroc": 1.5},
    }
    run = client_of(folder).get_run(parent)
    assert (run.info.run_name, run.info.status) == (top.name, "FINISHED")
    assert run.data.metrics == {"mean/val/auroc": 0.75}
    assert "mlflow.parentRunId" not in run.data.tags
    assert not (top / "mlflow.db").exists()


def test_families_of_three_generations_stand_in_one_store_also_after_they_were_moved(folder: Path) -> None:
    family(folder / "old", "middle")
    last = AWAY.model_copy(update={"parent": str(folder / "old" / "middle")})
    with tracked(folder / "old" / "middle" / "last", last):
        pass
    shutil.move(folder / "old", folder / "new")

    replay(folder / "new" / "middle" / "last", load_settings(folder / "new" / "middle" / "last"))

    top = tracked_run(folder / "new", AWAY)
    assert top is not None
    (middle,) = runs_of(folder, top).values()
    assert set(runs_of(folder, middle.info.run_id)) == {"last"}


def test_a_parent_may_be_a_run_of_mlflow_that_has_no_folder(folder: Path) -> None:
    client = client_of(folder)
    experiment = client.get_experiment_by_name("elsewhere")
    files = (folder / "elsewhere").as_uri()
    where = experiment.experiment_id if experiment else client.create_experiment("elsewhere", artifact_location=files)
    parent = client.create_run(where).info.run_id
    settings = AWAY.model_copy(update={"parent": parent})
    with tracked(folder / "adopted", settings):
        pass

    run = client.get_run(replay(folder / "adopted", settings))

    assert run.data.tags["mlflow.parentRunId"] == parent
    assert run.info.experiment_id == where


def test_a_parent_that_is_no_run_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    with (
        pytest.raises(TrackingError, match="was not tracked"),
        tracked(tmp_path / "child", AWAY.model_copy(update={"parent": str(tmp_path / "absent")})),
    ):
        pass
    assert not (tmp_path / "child").exists()


def test_a_run_is_no_ancestor_of_itself(tmp_path: Path) -> None:
    family(tmp_path / "top", "child")
    circle = AWAY.model_copy(update={"parent": str(tmp_path / "top" / "child")})

    with pytest.raises(TrackingError, match="parent of itself"), tracked(tmp_path / "top", circle):
        pass


def test_what_others_read_names_neither_password_nor_folders() -> None:
    settings = TrackingSettings(uri="postgresql+psycopg2://jane:hunter2@db/mlflow", parent="/home/jane/runs/folds")

    assert settings.shown() == TrackingSettings(uri="postgresql+psycopg2://db/mlflow", parent="folds")
    assert TrackingSettings(parent="0" * 32).shown().parent == "0" * 32
    assert TrackingSettings().shown() == TrackingSettings()
