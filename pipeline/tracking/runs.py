"""Which MLflow run a run folder is: remembered, found by its journal or made, and its parent before it."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME
from pydantic import ValidationError

from pipeline import atomic
from pipeline.domain.frozen import Frozen
from pipeline.errors import TrackingError
from pipeline.tracking.client import experiment_id, find_run
from pipeline.tracking.journal import FOLDER, read_journal
from pipeline.tracking.records import Opened
from pipeline.tracking.settings import Store, TrackingSettings, load_settings

JOURNAL_TAG = "resdx.journal"


class Progress(Frozen):
    """How far the replay to one store has come.

    Attributes
    ----------
    done : int
        ``seq`` of the last record that the store has acknowledged.
    """

    run_id: str
    done: int


def lineage(run_folder: Path, settings: TrackingSettings) -> tuple[Path, ...]:
    """Folders of the parent, its parent and so on.

    Raises
    ------
    TrackingError
        If one of them holds no tracked run, or a run is named as its own ancestor.
    """
    seen = [run_folder.resolve()]
    while (parent := settings.parent_folder) is not None:
        seen.append(parent.resolve())
        if len(set(seen)) < len(seen):
            raise TrackingError(f"{parent.name} is named as a parent of itself.", "Give another tracking.parent.")
        settings = load_settings(parent)
        read_journal(parent)
    return tuple(seen[1:])


def begun(client: MlflowClient, run_folder: Path, settings: TrackingSettings, store: Store) -> Progress:
    """Find the MLflow run of a run folder, or begin it, its parents first; call with the folder held by :func:`alone`.

    A parent that was never replayed is made here, empty, and fills when its own journal is replayed.
    """
    progress = load_progress(run_folder, store)
    if progress is None:
        progress = Progress(run_id=_find_or_create(client, run_folder, settings, store), done=0)
        save_progress(run_folder, store, progress)
    return progress


def load_progress(run_folder: Path, store: Store) -> Progress | None:
    """How far a store has come; None where no replay to it has begun.

    Raises
    ------
    TrackingError
        If the note is damaged.
    """
    path = _progress_path(run_folder, store)
    if not path.exists():
        return None
    try:
        return Progress.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise TrackingError(f"{path} is damaged.", "Remove it: the run is found again and replayed.") from error


def save_progress(run_folder: Path, store: Store, progress: Progress) -> None:
    """Note how far a store has come."""
    atomic.write_text(_progress_path(run_folder, store), progress.model_dump_json() + "\n")


@contextmanager
def alone(run_folder: Path) -> Iterator[None]:
    """One replay of a run at a time: the training's own and `resdx sync` wait for each other."""
    with (run_folder / FOLDER / "replay.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _find_or_create(client: MlflowClient, run_folder: Path, settings: TrackingSettings, store: Store) -> str:
    opened = read_journal(run_folder)[0]
    assert isinstance(opened, Opened)
    parent = _parent_run(client, run_folder, settings, store)
    if parent:
        # MLflow shows a run under its parent only within one experiment
        experiment = str(client.get_run(parent).info.experiment_id)
    else:
        experiment = experiment_id(client, settings.experiment, store.artifact_root)
    found = find_run(client, experiment, JOURNAL_TAG, opened.journal)
    if found is not None:
        return found
    name = settings.run_name or run_folder.resolve().name
    tags = {JOURNAL_TAG: opened.journal, MLFLOW_RUN_NAME: name} | ({MLFLOW_PARENT_RUN_ID: parent} if parent else {})
    return str(client.create_run(experiment, start_time=opened.time_ms, tags=tags, run_name=name).info.run_id)


def _parent_run(client: MlflowClient, run_folder: Path, settings: TrackingSettings, store: Store) -> str:
    """MLflow id of the parent; empty if there is none."""
    folder = settings.parent_folder
    if folder is None:
        return settings.parent
    lineage(run_folder, settings)  # a run that is its own ancestor would wait for itself
    with alone(folder):
        return begun(client, folder, load_settings(folder), store).run_id


def _progress_path(run_folder: Path, store: Store) -> Path:
    """One file a store, so that a run may also be replayed to a second one."""
    return run_folder / FOLDER / f"replayed-{hashlib.sha256(store.uri.encode()).hexdigest()[:12]}.json"
