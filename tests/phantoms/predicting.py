"""Scans to predict, the command's settings over them, and what stands in the tables that it leaves."""

import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from pipeline.stages.predict import Config

PREDICTIONS = {"predictions.csv", "predictions.jsonl", "predictions.parquet"}
TABLES = PREDICTIONS | {"superseded.csv", "files.csv", "rejections.csv", "retry.csv", "summary.json"}


def write_scan(path: Path, seed: int = 0, shape: tuple[int, ...] = (14, 12, 9)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).normal(50, 80, shape).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return path


def config(model: Path, scans: Path, out: Path, **changes: object) -> Config:
    fields: dict[str, object] = {
        "model": str(model),
        "scans": str(scans),
        "out": str(out),
        "modality": "CT",
        "processes": 0,
        "engine": {"kind": "torch", "threads": 1},
    }
    return Config.from_mapping(fields | changes)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return found


def timeless(out: Path) -> dict[str, Any]:
    return {key: value for key, value in summary(out).items() if key not in ("started", "seconds", "timings")}


def tables(out: Path) -> dict[str, bytes]:
    """Every table but the summary."""
    return {name: (out / name).read_bytes() for name in sorted(TABLES - {"summary.json"})}


def codes(out: Path, name: str = "rejections.csv") -> dict[str, str]:
    return {Path(row["path"]).name: row["code"] for row in rows(out / name)}


def conserved(out: Path) -> tuple[int, int, int, int, int]:
    found = summary(out)
    inputs, used, skipped, rejected, cases = (
        int(found[key]) for key in ("inputs", "used", "skipped", "rejected", "cases")
    )
    assert inputs == used + skipped + rejected
    assert cases == len(rows(out / "predictions.csv"))
    return inputs, used, skipped, rejected, cases
