"""Cohorts of public data, and a package trained on each, for the measurement of the scope gate."""

import csv
import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel
import numpy as np

from pipeline.package.package import ModelPackage, load_package
from pipeline.stages import import_medmnist, ingest, train

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "train"
OWN_SPLITS = (60, 75)
"""Percent of the names, by their digest, below which a case is for training, and for validation; the rest is test."""

CT_FOLDERS = ("AbdomenCT", "ChestCT")
A_FOLDER = 500
"""Pictures taken of each folder of MedNIST."""

INGEST = """\
labels:
  findings:
    - {{name: {finding}, column: {finding}, {kind}}}
  path_column: path
  split_column: split
  modality_column: modality
acknowledge_leaks: true
previews: {{count: 0}}
"""


@dataclass(frozen=True)
class Cohort:
    """One data set and how it is trained.

    Attributes
    ----------
    settings : tuple of str
        What differs from the shipped configuration.
    """

    name: str
    title: str
    config: str
    settings: tuple[str, ...] = ()


COHORTS = (
    Cohort("hippocampus", "hippocampus, MR crops (3D)", "hippocampus", ("training.epochs=15",)),
    Cohort("breast", "breast ultrasound, BreastMNIST (2D)", "breast2d", ("folds=0", "training.epochs=20")),
    Cohort(
        "ct",
        "CT slices of chest and abdomen, MedNIST (2D)",
        "mednist2d",
        ("plan.size=[28,28]", "training.epochs=6", "training.auxiliary.turns=0"),
    ),
    Cohort("folds", "breast ultrasound, an ensemble of folds", "breast2d", ("folds=4", "training.epochs=12")),
    Cohort("retina", "fundus photographs, RetinaMNIST (2D, colour)", "retina2d", ("folds=0", "training.epochs=8")),
)


def ready(cohort: Cohort, out: Path, data: Path, seed: int = 0) -> tuple[Path, ModelPackage]:
    """Ingest and train by the verbs that users have, or take what was done before; the manifest and the package."""
    os.environ.setdefault("RESDX_KEY_FILE", str(out.resolve() / "key"))
    folder = out / cohort.name
    manifest, run = folder / "cohort.csv", folder / "run"
    if not manifest.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        INGESTS[cohort.name](folder, data, manifest)
    if not (run / "package").is_dir():
        given = [f"manifest={manifest}", f"out={run}", f"seed={seed}", *cohort.settings]
        given += ["tracking.enabled=false", "tracking.system_seconds=0", "processes=1"]
        for line in train.run(train.Config.load(CONFIGS / f"{cohort.config}.yaml", given)).lines:
            logging.info("  %s", line)
    return manifest, load_package(run / "package")


def split_of(name: str) -> str:
    """Deal a case out by the digest of its name."""
    share = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    return "train" if share < OWN_SPLITS[0] else "validation" if share < OWN_SPLITS[1] else "test"


def ingest_hippocampus(folder: Path, data: Path, manifest: Path) -> None:
    """Label: whether the hippocampus is smaller than the median of the training split, by its mask."""
    rows = []
    for image in sorted((data / "hippocampus_nifti" / "images").glob("*.nii.gz")):
        mask = nibabel.load(data / "hippocampus_nifti" / "labels" / image.name)
        voxel = abs(np.linalg.det(mask.affine[:3, :3]))
        size = float(np.count_nonzero(np.asanyarray(mask.dataobj)) * voxel)
        rows.append((image.name, split_of(image.name), size))
    median = float(np.median([size for _, split, size in rows if split == "train"]))
    labels = [(name, split, "MR", "yes" if size < median else "no") for name, split, size in rows]
    scans = data / "hippocampus_nifti" / "images"
    _ingest(folder, scans, manifest, labels, ("small", 'kind: binary, positive: "yes"'))


def ingest_ct(folder: Path, data: Path, manifest: Path) -> None:
    """Label: which part of the body a CT slice shows, as its folder says."""
    _ingest(
        folder,
        data / "mednist",
        manifest,
        list(_ct_rows(data / "mednist")),
        ("part", "kind: binary, positive: AbdomenCT"),
    )


def _ct_rows(pictures: Path) -> Iterator[tuple[str, str, str, str]]:
    for name in CT_FOLDERS:
        for path in sorted((pictures / name).glob("*.jpeg"))[:A_FOLDER]:
            relative = f"{name}/{path.name}"
            yield relative, split_of(relative), "CT", name


def ingest_medmnist(name: str, folder: Path, data: Path, manifest: Path) -> None:
    """Keep the official split of a set of MedMNIST."""
    scans = folder / "import"
    if not scans.exists():
        import_medmnist.run(import_medmnist.Config(file=data / "medmnist" / f"{name}.npz", out=scans))
    given = [f"scans={scans / 'scans'}", f"out={manifest}", f"labels.file={scans / 'labels.csv'}"]
    ingest.run(ingest.Config.load(scans / "ingest.yaml", given))


INGESTS = {
    "hippocampus": ingest_hippocampus,
    "breast": partial(ingest_medmnist, "breastmnist"),
    "ct": ingest_ct,
    "folds": partial(ingest_medmnist, "breastmnist"),
    "retina": partial(ingest_medmnist, "retinamnist"),
}


def _ingest(
    folder: Path, scans: Path, manifest: Path, rows: Sequence[tuple[str, str, str, str]], finding: tuple[str, str]
) -> None:
    labels, settings = folder / "labels.csv", folder / "ingest.yaml"
    with labels.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "patient_id", "split", "modality", finding[0]])
        writer.writerows([path, path, split, modality, label] for path, split, modality, label in rows)
    settings.write_text(INGEST.format(finding=finding[0], kind=finding[1]), encoding="utf-8")
    given = [f"scans={scans}", f"out={manifest}", f"labels.file={labels}"]
    ingest.run(ingest.Config.load(settings, given))
