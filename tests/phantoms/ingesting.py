"""Runs the ingest command over a folder of phantoms, and reads what it left."""

import csv
from pathlib import Path

from pipeline.cohort.tables import load_manifest
from pipeline.domain.manifest import Manifest
from pipeline.stages import ingest
from pipeline.stages.outcome import Outcome

LESION = {"name": "lesion", "column": "lesion", "kind": "binary", "positive": "yes"}
COUNT = 20


def run(folder: Path, **settings: object) -> Outcome:
    """Ingest ``scans`` of a folder with its ``labels.csv`` into ``out/cohort.csv``, without worker processes."""
    labels = {"file": str(folder / "labels.csv"), "findings": [LESION], **settings.pop("labels", {})}  # type: ignore[dict-item]
    base = {"scans": str(folder / "scans"), "out": str(folder / "out" / "cohort.csv"), "labels": labels, "processes": 0}
    return ingest.run(ingest.Config.from_mapping(base | settings))


def manifest_of(folder: Path) -> Manifest:
    return load_manifest(folder / "out" / "cohort.csv")


def rows_of(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "out" / f"cohort.{name}").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
