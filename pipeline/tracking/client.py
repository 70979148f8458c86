"""The connection to MLflow: short, bounded waiting, and every way it can fail turned into one error."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import mlflow
import requests
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from pipeline.credentials import without_credentials
from pipeline.errors import TrackingError
from pipeline.tracking.settings import Store

BOUNDS: Mapping[str, str] = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""MLflow's own defaults wait four minutes for a server that is down. What the user's environment says goes first."""

REFUSALS = ("401", "403", "authent", "password", "credential", "permission")
"""Words of a store that asks who is there."""

HOW_TO_LOG_IN = (
    "User and password are kept in no file: give tracking.uri with them on the command line, or set "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (of a PostgreSQL database PGUSER and PGPASSWORD)."
)

LONGEST_REASON = 600
"""Characters of what MLflow says of a failure; behind them come stack traces of servers."""

FAILURES = (MlflowException, requests.RequestException, SQLAlchemyError, OSError)


def connect(store: Store) -> MlflowClient:
    """Open a store; the first time, a SQLite store is made."""
    for name, value in BOUNDS.items():
        os.environ.setdefault(name, value)
    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # MLflow's SQLite registry resolves models:/ through the process-wide store, not through the client's own
    mlflow.set_tracking_uri(store.uri)
    mlflow.set_registry_uri(store.uri)
    return MlflowClient(tracking_uri=store.uri, registry_uri=store.uri)


@contextmanager
def reporting(store: Store, remedy: str) -> Iterator[None]:
    """Turn MLflow's and the network's errors into TrackingError."""
    try:
        yield
    except FAILURES as error:
        reason = " ".join(without_credentials(str(error)).split())
        reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} ..."
        if any(word in reason.lower() for word in REFUSALS) and store.uri == store.shown:
            remedy = f"{remedy} {HOW_TO_LOG_IN}"
        raise TrackingError(f"MLflow at {store.shown} cannot be used: {reason}", remedy) from error


def experiment_id(client: MlflowClient, name: str, artifact_root: str) -> str:
    """Find the experiment, or make it.

    Raises
    ------
    TrackingError
        If it was deleted.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifact_root or None))
        except MlflowException as error:
            # another run may have made it in between
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage != "active":
        raise TrackingError(f"experiment {name!r} was deleted in MLflow.", "Restore it, or set tracking.experiment.")
    return str(experiment.experiment_id)


def find_run(client: MlflowClient, experiment: str, tag: str, value: str) -> str | None:
    """Id of the run that carries a tag, deleted ones included."""
    condition = f"tags.`{tag}` = '{value}'"
    found = client.search_runs([experiment], condition, run_view_type=ViewType.ALL, max_results=1)
    return str(found[0].info.run_id) if found else None
