"""Replays a journal to MLflow: each record once, in order, going on where the last replay stopped."""

import fcntl
import hashlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from pydantic import ValidationError

from pipeline import atomic
from pipeline.domain.frozen import Frozen
from pipeline.errors import TrackingError
from pipeline.tracking import records
from pipeline.tracking.client import connect, experiment_id, find_run, reporting
from pipeline.tracking.journal import FOLDER, fingerprint_files, read_journal
from pipeline.tracking.records import AnyRecord
from pipeline.tracking.registry import register
from pipeline.tracking.settings import Store, TrackingSettings

log = logging.getLogger("resdx")

JOURNAL_TAG = "resdx.journal"

PARAM_LIMIT = 250
"""Longest parameter that every MLflow store keeps whole; longer ones become text artifacts."""

TAG_LIMIT = 5000
BATCH_LIMIT = 1000
"""Most metrics that one request may carry."""


class Progress(Frozen):
    """How far the replay to one store has come.

    Attributes
    ----------
    done : int
        ``seq`` of the last record that the store has acknowledged.
    """

    run_id: str
    done: int


def replay(run_folder: Path, settings: TrackingSettings) -> str:
    """Bring MLflow up to date with the journal of a run.

    A crash between the store's answer and our note of it repeats one step, and each step is harmless when repeated:
    a metric keeps the time of its measurement, parameters, tags and artifacts are overwritten by themselves, a model is
    found again by its digest, the run by the journal's id.

    Returns
    -------
    str
        The MLflow run id, the same one each time.

    Raises
    ------
    TrackingError
        If the store cannot be reached or refuses; what was replayed so far is kept.
    """
    journal = read_journal(run_folder)
    store = settings.store(run_folder)
    with _alone(run_folder), reporting(store, f"Nothing is lost; later run: resdx sync {run_folder.name}"):
        client = connect(store)
        progress = _load(run_folder, store)
        if progress is None:
            run_id = _find_or_create(client, journal, settings, store, run_folder.resolve().name)
            progress = Progress(run_id=run_id, done=0)
            _save(run_folder, store, progress)
        player = _Player(client, progress.run_id, run_folder, journal)
        for group in _steps(record for record in journal if record.seq > progress.done):
            player.play(group)
            progress = Progress(run_id=progress.run_id, done=group[-1].seq)
            _save(run_folder, store, progress)
    return progress.run_id


def tracked_run(run_folder: Path, settings: TrackingSettings) -> str | None:
    """Return the MLflow run id of a run folder, if any replay has begun."""
    progress = _load(run_folder, settings.store(run_folder))
    return progress.run_id if progress else None


class _Player:
    """Sends records to one run."""

    def __init__(self, client: MlflowClient, run_id: str, run_folder: Path, journal: Sequence[AnyRecord]) -> None:
        self.client = client
        self.run_id = run_id
        self.run_folder = run_folder
        self.first_values = _first_values(journal)
        self.last_artifact = {(r.path, r.folder): r.seq for r in journal if isinstance(r, records.Artifact)}

    def play(self, group: Sequence[AnyRecord]) -> None:
        """Send one step: a single record, or several of metrics."""
        record = group[0]
        match record:
            case records.Metrics():
                self._metrics(group)
            case records.Params():
                self._params(record)
            case records.Tags():
                self._tags(record.values)
            case records.Artifact():
                self._artifact(record)
            case records.Model():
                self._model(record)
            case records.Resumed():
                self.client.update_run(self.run_id, status="RUNNING")
            case records.Ended():
                self.client.set_terminated(self.run_id, record.status, end_time=record.time_ms)
            case records.Opened():
                pass

    def _metrics(self, group: Sequence[AnyRecord]) -> None:
        values = [
            Metric(_name(name), value, record.time_ms, record.step)
            for record in group
            if isinstance(record, records.Metrics)
            for name, value in record.values.items()
        ]
        for start in range(0, len(values), BATCH_LIMIT):
            self.client.log_batch(self.run_id, metrics=values[start : start + BATCH_LIMIT])

    def _params(self, record: records.Params) -> None:
        for name, value in record.values.items():
            if self.first_values[name] != value:
                # MLflow never lets a parameter change; a resumed run may have other settings
                self._tags({f"changed.{name}": value})
            elif len(value) > PARAM_LIMIT:
                self.client.log_text(self.run_id, value, f"params/{_name(name).replace('/', '.')}.txt")
            else:
                self.client.log_batch(self.run_id, params=[Param(_name(name), value)])

    def _tags(self, values: dict[str, str]) -> None:
        self.client.log_batch(self.run_id, tags=[RunTag(_name(k), v[:TAG_LIMIT]) for k, v in values.items()])

    def _artifact(self, record: records.Artifact) -> None:
        if self.last_artifact[record.path, record.folder] != record.seq:
            return
        path = self.run_folder / record.path
        if not path.exists() or fingerprint_files(path) != record.files:
            log.warning("%s is no longer what the run recorded; it is not sent to MLflow.", Path(record.path).name)
            return
        if path.is_dir():
            self.client.log_artifacts(self.run_id, str(path), record.folder or None)
        else:
            self.client.log_artifact(self.run_id, str(path), record.folder or None)

    def _model(self, record: records.Model) -> None:
        package = self.run_folder / record.path
        if not package.is_dir():
            log.warning("Model package %s is gone; it is not sent to MLflow.", package.name)
            return
        uri = register(self.client, self.run_id, package, record.digest, record.name, record.alias)
        self._tags({"resdx.model": record.digest, "resdx.model_uri": uri})


def _find_or_create(
    client: MlflowClient, journal: Sequence[AnyRecord], settings: TrackingSettings, store: Store, folder_name: str
) -> str:
    opened = journal[0]
    assert isinstance(opened, records.Opened)
    experiment = experiment_id(client, settings.experiment, store.artifact_root)
    found = find_run(client, experiment, JOURNAL_TAG, opened.journal)
    if found is not None:
        return found
    name = settings.run_name or folder_name
    tags = {JOURNAL_TAG: opened.journal, MLFLOW_RUN_NAME: name}
    return str(client.create_run(experiment, start_time=opened.time_ms, tags=tags, run_name=name).info.run_id)


def _steps(pending: Iterable[AnyRecord]) -> Iterator[tuple[AnyRecord, ...]]:
    """One record a step, but neighbouring metrics together."""
    for is_metrics, group in groupby(pending, key=lambda record: isinstance(record, records.Metrics)):
        if is_metrics:
            yield tuple(group)
        else:
            yield from ((record,) for record in group)


def _first_values(journal: Sequence[AnyRecord]) -> dict[str, str]:
    first: dict[str, str] = {}
    for record in journal:
        if isinstance(record, records.Params):
            first = record.values | first
    return first


def _name(name: str) -> str:
    """Spell a key with only the characters that MLflow allows."""
    return re.sub(r"[^\w\-. /:]", "_", name)[:250]


def _progress_path(run_folder: Path, store: Store) -> Path:
    """One file a store, so that a run may also be replayed to a second one."""
    return run_folder / FOLDER / f"replayed-{hashlib.sha256(store.uri.encode()).hexdigest()[:12]}.json"


def _load(run_folder: Path, store: Store) -> Progress | None:
    path = _progress_path(run_folder, store)
    if not path.exists():
        return None
    try:
        return Progress.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise TrackingError(f"{path} is damaged.", "Remove it: the run is found again and replayed.") from error


def _save(run_folder: Path, store: Store, progress: Progress) -> None:
    atomic.write_text(_progress_path(run_folder, store), progress.model_dump_json() + "\n")


@contextmanager
def _alone(run_folder: Path) -> Iterator[None]:
    """One replay of a run at a time: the training's own and `resdx sync` wait for each other."""
    with (run_folder / FOLDER / "replay.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
