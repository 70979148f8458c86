"""Replays a journal to MLflow: each record once, in order, going on where the last replay stopped.

Runs that belong together (folds, seeds, trials) are children of one run. The run above opens a journal of its own, and
each child names its folder::

    with tracked(folder, settings.tracking) as journal:              # the parent: what all share, and what came out
        child = settings.tracking.model_copy(update={"parent": str(folder), "run_name": "fold 1"})
        with tracked(folder / "fold1", child) as of_fold:            # or resdx train tracking.parent=FOLDER
            ...

A child stands in the experiment and, unless it has a `uri`, in the store of its parent. Whichever of them is replayed
first, live or by ``resdx sync``, makes the parent's MLflow run before the child's (:mod:`pipeline.tracking.runs`).
"""

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from pipeline.tracking import datasets, records
from pipeline.tracking.client import connect, reporting
from pipeline.tracking.journal import fingerprint_files, read_journal
from pipeline.tracking.records import AnyRecord
from pipeline.tracking.registry import register
from pipeline.tracking.runs import Progress, alone, begun, load_progress, save_progress
from pipeline.tracking.settings import TrackingSettings

log = logging.getLogger("resdx")

PARAM_LIMIT = 250
"""Longest parameter that every MLflow store keeps whole; longer ones become text artifacts."""

TAG_LIMIT = 5000
BATCH_LIMIT = 1000
"""Most metrics that one request may carry."""


def replay(run_folder: Path, settings: TrackingSettings) -> str:
    """Bring MLflow up to date with the journal of a run.

    A crash between the store's answer and our note of it repeats one step, and each step is harmless when repeated:
    a metric keeps the time of its measurement, parameters, tags and artifacts are overwritten by themselves, a model is
    found again by its digest, the run by the journal's id. A metric that a resumed run measures again at a step stays
    as it was measured first.

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
    with alone(run_folder), reporting(store, f"Nothing is lost; later run: resdx sync {run_folder}"):
        client = connect(store)
        progress = begun(client, run_folder, settings, store)
        player = _Player(client, progress.run_id, run_folder, journal)
        for group in _steps(record for record in journal if record.seq > progress.done):
            player.play(group)
            progress = Progress(run_id=progress.run_id, done=group[-1].seq)
            save_progress(run_folder, store, progress)
    return progress.run_id


def tracked_run(run_folder: Path, settings: TrackingSettings) -> str | None:
    """Return the MLflow run id of a run folder, if any replay has begun."""
    progress = load_progress(run_folder, settings.store(run_folder))
    return progress.run_id if progress else None


class _Player:
    """Sends records to one run."""

    def __init__(self, client: MlflowClient, run_id: str, run_folder: Path, journal: Sequence[AnyRecord]) -> None:
        self.client = client
        self.run_id = run_id
        self.run_folder = run_folder
        self.first_values = _first_values(journal)
        self.first_measured = _first_measured(journal)
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
            case records.Dataset():
                datasets.log(self.client, self.run_id, record)
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
            if self.first_measured[name, record.step] == record.seq
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


def _first_measured(journal: Sequence[AnyRecord]) -> dict[tuple[str, int], int]:
    """Record that first measured each metric at each step: a resumed run measures the steps that it repeats again."""
    first: dict[tuple[str, int], int] = {}
    for record in journal:
        if isinstance(record, records.Metrics):
            for name in record.values:
                first.setdefault((name, record.step), record.seq)
    return first


def _name(name: str) -> str:
    """Spell a key with only the characters that MLflow allows."""
    return re.sub(r"[^\w\-. /:]", "_", name)[:250]
