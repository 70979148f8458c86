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

from benchmarks.depth_tables import curves_table, gradients_table, section
from benchmarks.results import write_section
from conftest import SHARED_DATA

from pipeline import atomic
from pipeline.stages import depth_study, ingest
from pipeline.training.study.pictures import save_pictures
from pipeline.training.study.record import Record
from pipeline.training.study.results import Study

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
    "data": {"augmentation": {"shift": 0, "rotation": 0, "scale": 0, "intensity_scale": 0, "intensity_shift": 0}},
    "tracking": {"enabled": False, "system_seconds": 0},
    "depths": [20, 110],
    "threads": 1,
}
"""The same for every network; the learning rate is that of He et al. for half their batch."""

STUDIES = {
    "with_norm": {"norms": ["batch"]},
    "without_norm": {"norms": ["none"], "seeds": [0], "course": SETTINGS["course"] | {"steps": 100}},
}
"""Without any norm only the beginning is trained, for its gradients."""

KEPT = Path(__file__).with_name("depth")
"""Curves and pictures that stay with the code; they show no image."""

TITLE = "Depth: residual networks and their plain twins"
ABOUT = (
    "MedNIST, 6 classes of 1,000 pictures, 28 x 28 pixels: 5,400 to train, 300 to validate. Several may be of one "
    "patient and some are equal: nothing about new patients follows. Width 16, shortcut A, zero_init off, SGD with "
    "Nesterov momentum 0.9, learning rate 0.05 after 100 steps of warm-up, cosine to 1%, weight decay 0.0001, "
    "batch_size 64 (an epoch is cut into even batches, of 63 or 64), no augmentation; equal batches in equal order, "
    "equal first weights in twins of one seed; float32"
)


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


def load(folder: Path) -> list[Record]:
    """Records of the networks that are trained, seeds in order."""
    files = (folder / "networks").glob("*/network.json")
    records = [Record.model_validate_json(path.read_bytes()) for path in files]
    return sorted(records, key=lambda record: (record.seed, record.shape.depth, not record.shape.residual))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder that is kept; the same one again goes on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the networks with batch norm")
    parser.add_argument("--report-only", action="store_true", help="train nothing, write what is there")
    parser.add_argument("--remark", action="append", default=[], help="what a reader of the figures must know")
    given = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("resdx").setLevel(logging.INFO)
    if not given.report_only:
        manifest = ingest_mednist(SHARED_DATA / "mednist", given.out / "data")
        for name, own in STUDIES.items():
            settings = (
                SETTINGS | {"seeds": given.seeds} | own | {"manifest": str(manifest), "out": str(given.out / name)}
            )
            print(*depth_study.run(depth_study.Config.from_mapping(settings)).lines, sep="\n")
    records = [record for name in STUDIES for record in load(given.out / name)]
    KEPT.mkdir(exist_ok=True)
    atomic.write_text(KEPT / "curves.csv", curves_table(records))
    atomic.write_text(KEPT / "gradients.csv", gradients_table(records))
    save_pictures(KEPT, records)
    studied = given.out / "with_norm" / "study.json"
    costs = Study.model_validate_json(studied.read_bytes()).costs if studied.is_file() else None
    body = section(records, costs)
    print(write_section("depth", TITLE, body, ("torch", "numpy"), remarks=(ABOUT, *given.remark)))


if __name__ == "__main__":
    main()
