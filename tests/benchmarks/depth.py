"""Depth: residual and plain networks of 20 and 110 layers on MedNIST. Run: python tests/benchmarks/depth.py --out DIR.

He et al. 2016, figure 6, on medical images: every network sees the same batches in the same order with the same
settings, twins of one seed begin with the same weights. Killed, it goes on where it stopped.
"""

import argparse
import csv
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from conftest import SHARED_DATA

from pipeline.stages import depth_study, ingest

CLASSES = ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT")
SPLITS = ("train",) * 18 + ("validation", "test")
"""Of twenty images in the order of their names."""

SETTINGS = {
    "backbone": {"kind": "resnet", "width": 16, "shortcut": "A", "zero_init": False},
    "course": {
        "steps": 600,
        "batch_size": 64,
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "weight_decay": 1e-4,
        "warmup_steps": 100,
        "measure_every": 50,
        "measured_cases": 1000,
        "gradient_steps": [0, 50, 100, 300],
    },
    "plan": {"size": [28, 28], "fit": True, "precision": "32"},
    "data": {"augmentation": {"shift": 0, "intensity_scale": 0, "intensity_shift": 0}},
    "tracking": {"enabled": False, "system_seconds": 0},
    "depths": [20, 110],
    "threads": 1,
}
"""The same for every network; the learning rate is that of He et al. for half their batch."""

LONG = {"norms": ["batch"], "seeds": [0, 1, 2]}
WITHOUT = {"norms": ["none"], "seeds": [0]}
"""Without any norm, for its gradients: fewer steps of the same schedule's beginning."""


def ingest_mednist(scans: Path, folder: Path) -> Path:
    """Manifest of the six classes; as the pictures name no patient, each stands for one."""
    manifest = folder / "mednist.csv"
    if manifest.is_file():
        return manifest
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "patient_id", "split", "label"))
        for name in CLASSES:
            for number, path in enumerate(sorted((scans / name).glob("*.jpeg"))):
                rows.writerow((f"{name}/{path.name}", f"{name}-{path.stem}", SPLITS[number % len(SPLITS)], name))
    finding = {"name": "part", "column": "label", "kind": "multiclass", "classes": list(CLASSES)}
    labels = {
        "file": str(folder / "labels.csv"),
        "findings": [finding],
        "path_column": "path",
        "patient_column": "patient_id",
        "split_column": "split",
    }
    settings = {
        "scans": str(scans),
        "out": str(manifest),
        "labels": labels,
        "modality": "OT",
        "acknowledge_leaks": True,
        "key_file": str(folder.parent / "key" / "key"),
        "index": False,
    }
    ingest.run(ingest.Config.from_mapping(settings))
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder that is kept; the same one again goes on")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--trial", action="store_true", help="one seed only")
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("resdx").setLevel(logging.INFO)
    manifest = ingest_mednist(SHARED_DATA / "mednist", given.out / "data")
    for name, own in {"with_norm": LONG, "without_norm": WITHOUT}.items():
        if given.trial:
            own = own | {"seeds": [0]}
        course = SETTINGS["course"] | {"steps": given.steps}
        settings = SETTINGS | own | {"course": course, "manifest": str(manifest), "out": str(given.out / name)}
        outcome = depth_study.run(depth_study.Config.from_mapping(settings))
        print(*outcome.lines, sep="\n")


if __name__ == "__main__":
    main()
