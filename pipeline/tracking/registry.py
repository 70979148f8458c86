"""A model package as an MLflow model and a registered version, opened by MLflow without any pickle."""

import tempfile
import warnings
from pathlib import Path

import mlflow.pyfunc
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

from pipeline import __version__

LOADER = "pipeline.stages.pyfunc"
"""Module whose ``_load_pyfunc`` opens the package; part of the installed resdx, so no code travels with the model."""

MODEL_NAME = "model"
"""Name of the logged model in its run: ``runs:/RUN/model``."""

DIGEST_TAG = "resdx.model"

INPUTS = (ColSpec(DataType.string, "path"),)
OUTPUTS = (
    ColSpec(DataType.long, "row"),
    ColSpec(DataType.string, "case", required=False),
    ColSpec(DataType.string, "finding", required=False),
    ColSpec(DataType.string, "class", required=False),
    ColSpec(DataType.double, "probability", required=False),
    ColSpec(DataType.string, "decision", required=False),
    ColSpec(DataType.string, "scope", required=False),
    ColSpec(DataType.string, "code", required=False),
    ColSpec(DataType.string, "message", required=False),
)
"""Columns of what ``predict`` of the MLflow model returns; see :mod:`pipeline.stages.pyfunc`."""

PARAMS = (
    ParamSpec("modality", DataType.string, ""),
    ParamSpec("processes", DataType.long, 0),
    ParamSpec("scans", DataType.string, ""),
)

SIGNATURE = ModelSignature(inputs=Schema(list(INPUTS)), outputs=Schema(list(OUTPUTS)), params=ParamSchema(list(PARAMS)))


def register(client: MlflowClient, run_id: str, package: Path, digest: str, name: str = "", alias: str = "") -> str:
    """Log a package under a run and make it a version of `name`; doing so again changes nothing.

    Parameters
    ----------
    digest : str
        The package's digest: what is already there under it is not made twice.
    name, alias : str
        Empty: not registered, no alias.

    Returns
    -------
    str
        ``models:/NAME/VERSION``, or ``models:/MODEL_ID`` if not registered.
    """
    model = _logged_model(client, run_id, package, digest)
    if not name:
        return f"models:/{model.model_id}"
    found = _registered_version(client, name, str(model.model_id))
    if found is None:
        _make_registered_model(client, name)
        found = client.create_model_version(
            name,
            source=f"models:/{model.model_id}",
            run_id=run_id,
            tags={DIGEST_TAG: digest},
            model_id=model.model_id,
            await_creation_for=30,
        )
    if alias:
        client.set_registered_model_alias(name, alias, str(found.version))
    return f"models:/{name}/{found.version}"


def save_model(target: Path, package: Path, model: Model | None = None) -> None:
    """Write an MLflow model folder that holds a package as its data."""
    with warnings.catch_warnings():
        # an example would be run at once, on a scan that we do not have
        warnings.filterwarnings("ignore", message=".*input example was not provided")
        mlflow.pyfunc.save_model(
            str(target),
            loader_module=LOADER,
            data_path=str(package),
            mlflow_model=model or Model(),
            signature=SIGNATURE,
            pip_requirements=[f"resdx=={__version__}"],
        )


def _logged_model(client: MlflowClient, run_id: str, package: Path, digest: str) -> LoggedModel:
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_logged_models(
        [experiment], f"source_run_id = '{run_id}' AND tags.`{DIGEST_TAG}` = '{digest}'"
    )
    if found and found[0].status == LoggedModelStatus.READY:
        return found[0]
    # one that is not ready was begun before a crash: its files are written again
    tags = {DIGEST_TAG: digest}
    logged = found[0] if found else client.create_logged_model(experiment, MODEL_NAME, source_run_id=run_id, tags=tags)
    identity = Model(
        artifact_path=logged.artifact_location, model_uuid=logged.model_id, run_id=run_id, model_id=logged.model_id
    )
    with tempfile.TemporaryDirectory(prefix="resdx-model-") as folder:
        target = Path(folder) / "model"
        save_model(target, package, identity)
        client.log_model_artifacts(logged.model_id, str(target))
    outputs = client.get_run(run_id).outputs
    if logged.model_id not in {entry.model_id for entry in (outputs.model_outputs if outputs else ())}:
        # MLflow refuses to be told of an output twice, and a replay that was killed here told it
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def _registered_version(client: MlflowClient, name: str, model_id: str) -> ModelVersion | None:
    versions = client.search_model_versions(f"name = '{name}'")
    return next((version for version in versions if version.source == f"models:/{model_id}"), None)


def _make_registered_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
