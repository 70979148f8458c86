"""The cases of a split as a dataset of MLflow: counts and digest, neither files nor who they are of."""

import json
from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from pipeline.domain.case import Split
from pipeline.domain.manifest import Manifest
from pipeline.tracking import records

DIGEST_LIMIT = 36
"""Characters of a digest that MLflow keeps; the whole one stands in the source."""

CONTEXTS: Mapping[Split, str] = {Split.TRAIN: "training", Split.VALIDATION: "validation", Split.TEST: "test"}
SOURCE = "resdx manifest"


def profile(manifest: Manifest, split: Split, labels: Mapping[str, Mapping[str, int]]) -> dict[str, object]:
    """Count what a split holds.

    Parameters
    ----------
    labels : mapping of str to mapping of str to int
        Cases of each class, by finding.
    """
    cases = manifest.of(split)
    return {
        "cases": len(cases),
        "patients": len({case.patient for case in cases}),
        "series": sum(len(case.series) for case in cases),
        "labels": {name: dict(counts) for name, counts in labels.items()},
    }


def log(client: MlflowClient, run_id: str, record: records.Dataset) -> None:
    """Name a dataset as an input of a run; MLflow keeps one of each name and digest."""
    columns = [{"type": "string", "name": name, "required": False} for name in record.columns]
    dataset = Dataset(
        name=record.name,
        digest=record.digest[:DIGEST_LIMIT],
        source_type=SOURCE,
        source=json.dumps({"manifest digest": record.digest}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=record.profile,
    )
    tags = [InputTag(MLFLOW_DATASET_CONTEXT, record.context)]
    client.log_inputs(run_id, [DatasetInput(dataset, tags)])
