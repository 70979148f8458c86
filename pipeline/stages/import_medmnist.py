"""``resdx import medmnist``: a public benchmark becomes a scan folder, labels and a configuration of ingest."""

import csv
import hashlib
import logging
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, PositiveFloat

from pipeline import atomic
from pipeline.cohort.likeness import perceptual_hash, thumbnail
from pipeline.cohort.near_copies import Image as Compared
from pipeline.cohort.near_copies import Thumbnails, near_copies
from pipeline.cohort.thumbnails import Spool, packed
from pipeline.config import Settings
from pipeline.domain.case import Split
from pipeline.domain.cells import csv_text
from pipeline.domain.finding import FindingKind
from pipeline.domain.geometry import Geometry
from pipeline.domain.volume import Volume
from pipeline.errors import UsageError
from pipeline.preprocessing.mask_shape import MEASURES, measure_mask
from pipeline.progress import track
from pipeline.stages.medmnist_file import MedMnistFile, open_medmnist
from pipeline.stages.medmnist_sets import CUBE_MM, MedMnistSet, guessed_set, known_set
from pipeline.stages.outcome import Outcome
from pipeline.writers.nifti import write_image

log = logging.getLogger("resdx")

COLUMNS = ("path", "patient_id", "split", "label", "modality")
MANIFEST_COLUMNS = ("split", "index", "label", "sha256")
HALF = 127
"""Voxels of a mask are 0 or 255."""
NONE_PRESENT = "none"
"""Multilabel cell of an image with no class; a blank would mean that it is not known."""

MANIFESTS = Path(__file__).resolve().parent.parent.parent / "data_manifests"
"""Digests of public benchmarks, in a checkout; an installed wheel does without."""


class Config(Settings):
    """Settings of ``resdx import medmnist``."""

    file: Path = Field(description="An .npz file of MedMNIST, named as published: breastmnist.npz, ...")
    out: Path = Field(description="New folder for scans/, labels.csv and ingest.yaml.")
    modality: str = Field(default="", description="Modality; default: by the name of the file, else OT (other).")
    cube_mm: PositiveFloat = Field(
        default=CUBE_MM, description="Side of a volume in mm; the files do not say it. Images in 2D stay in pixels."
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """One image."""

    path: str
    split: Split
    index: int
    label: str
    sha256: str
    likeness: str
    measured: tuple[str, ...] = ()
    """Shape of a mask, as :data:`MEASURES` names it."""
    has_near_copy: bool = False
    """In another split."""


def run(config: Config) -> Outcome:
    """Write the folder, whole or not at all.

    Raises
    ------
    UsageError
        The file is none of MedMNIST, or the folder holds something.
    """
    if config.out.exists() and (not config.out.is_dir() or any(config.out.iterdir())):
        raise UsageError(f"{config.out} exists and is not empty.", "Give a new folder.")
    source = open_medmnist(config.file)
    described = _described(config, source)
    rows: list[_Row] = []
    atomic.replace_folder(config.out, lambda folder: rows.extend(_fill(folder, source, described, config)))
    _compare(config.file.stem, rows)
    return Outcome(tuple(_closing_lines(config, source, described, rows)))


def manifest_text(rows: Sequence[_Row]) -> str:
    """CSV of ``data_manifests``: which image stands where, by the digest of its pixels."""
    return csv_text(MANIFEST_COLUMNS, ((row.split, str(row.index), row.label, row.sha256) for row in rows))


def _described(config: Config, source: MedMnistFile) -> MedMnistSet:
    """Say what the labels mean; classes without known names are called by their number."""
    described = known_set(config.file.stem) or guessed_set(source.label_columns, source.classes)
    if not described.classes:
        numbers = tuple(map(str, range(source.classes)))
        described = MedMnistSet(described.finding, described.kind, described.modality, numbers)
    largest = 2 if source.label_columns > 1 else len(described.classes)
    if source.classes > largest or (source.label_columns > 1) is not (described.kind is FindingKind.MULTILABEL):
        raise UsageError(
            f"{config.file.name}: its labels have {source.label_columns} column(s) up to {source.classes - 1}, which "
            f"does not fit the data set of that name ({described.kind}: {', '.join(described.classes)}).",
            "Give the file as it was published, under its name.",
        )
    return described


def _fill(folder: Path, source: MedMnistFile, described: MedMnistSet, config: Config) -> Iterator[_Row]:
    """Write everything into a folder, and yield a row an image."""
    rows, spool = [], Spool()
    for split in Split:
        (folder / "scans" / split).mkdir(parents=True)
    suffix = ".nii.gz" if source.is_3d else ".png"
    for split, index, image in track(source.images(), "write scans", sum(source.counts.values())):
        path = f"{split}/{index:05d}{suffix}"
        _write_scan(folder / "scans" / path, image, described.modality, source.is_3d, config.cube_mm)
        small = thumbnail(_seen(image, source.is_3d))
        spool.keep(path, packed(small))
        label = _label(source.labels[split][index], described)
        digest, measured = hashlib.sha256(image.tobytes()).hexdigest(), _measured(image, described, config.cube_mm)
        rows.append(_Row(path, split, index, label, digest, perceptual_hash(small), measured))
    rows = _with_near_copies(rows, spool)
    modality = config.modality or described.modality
    cells = ((row.path, f"{row.split}-{row.index:05d}", row.split, row.label, modality, *row.measured) for row in rows)
    columns = (*COLUMNS, *(MEASURES if described.of_masks else ()))
    (folder / "labels.csv").write_text(csv_text(columns, cells), encoding="utf-8")
    (folder / "ingest.yaml").write_text(_ingest_yaml(config.file.name, described, rows), encoding="utf-8")
    yield from rows


def _write_scan(path: Path, image: NDArray[np.uint8], modality: str, is_3d: bool, cube_mm: float) -> None:
    if not is_3d:
        Image.fromarray(image).save(path, "PNG")
        return
    spacing = cube_mm / image.shape[0]
    side_i, side_j, side_k = image.shape
    geometry = Geometry.from_matrix((side_i, side_j, side_k), np.diag([spacing, spacing, spacing, 1.0]))
    write_image(path, Volume(image[np.newaxis].astype(np.float32), geometry, modality))


def _measured(image: NDArray[np.uint8], described: MedMnistSet, cube_mm: float) -> tuple[str, ...]:
    """Measure a mask, to four digits; nothing else has an outline."""
    if not described.of_masks:
        return ()
    spacing = (cube_mm / image.shape[0],) * image.ndim
    return tuple(f"{value:.4g}" for value in measure_mask(image > HALF, spacing))


def _label(values: NDArray[np.int64], described: MedMnistSet) -> str:
    if described.kind is FindingKind.MULTILABEL:
        present = [name for name, value in zip(described.classes, values, strict=True) if value]
        return "|".join(present) or NONE_PRESENT
    return described.classes[int(values[0])]


def _ingest_yaml(name: str, described: MedMnistSet, rows: Sequence[_Row]) -> str:
    finding: dict[str, Any] = {"name": described.finding, "column": "label", "kind": described.kind.value}
    classes = list(described.classes)
    if described.kind is FindingKind.BINARY:
        finding["positive"] = described.positive
        classes.sort(key=lambda label: label == described.positive)
    finding["classes"] = classes
    if described.kind is FindingKind.MULTILABEL:
        finding["values"] = {NONE_PRESENT: ""}
    settings: dict[str, Any] = {
        "labels": {
            "findings": [finding],
            "path_column": "path",
            "patient_column": "patient_id",
            "split_column": "split",
            "modality_column": "modality",
        }
    }
    if described.of_masks:
        settings["labels"]["covariates"] = {name: name for name in MEASURES}
    lines = [f"# Settings of `resdx ingest` for {name}, with its official split.", _yaml(settings)]
    shared, near = _shared(rows), _near_copies(rows)
    if shared or near:
        lines += [
            f"# {shared} image(s) of the official split stand, pixel for pixel, in two of its parts, and {near} have a",
            "# near copy in another part. It is kept as published, so that figures compare; every report carries the",
            "# count.",
            _yaml({"acknowledge_leaks": True}),
        ]
    return "\n".join(lines)


def _yaml(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)


def _shared(rows: Sequence[_Row]) -> int:
    """Count the pixel digests that stand in more than one split."""
    splits: dict[str, set[Split]] = defaultdict(set)
    for row in rows:
        splits[row.sha256].add(row.split)
    return sum(len(found) > 1 for found in splits.values())


def _seen(image: NDArray[np.uint8], is_3d: bool) -> Volume:
    """Give an image the axes that reading it will give: (c, i, j, k)."""
    voxels = image[None] if is_3d else image.reshape(*image.shape[:2], -1).transpose(2, 1, 0)[..., None]
    i, j, k = voxels.shape[1:]
    return Volume(voxels.astype(np.float32), Geometry.from_matrix((i, j, k), np.eye(4)), "OT")


def _with_near_copies(rows: Sequence[_Row], thumbnails: Thumbnails) -> list[_Row]:
    """Mark the images that have a near copy, not an equal one, in another split, as ingest will find them."""
    images = [Compared(row.path, row.likeness, (row.path, str(row.split), row.sha256)) for row in rows]
    tied = {place for pair in near_copies(images, thumbnails) for place in pair}
    return [replace(row, has_near_copy=place in tied) for place, row in enumerate(rows)]


def _near_copies(rows: Sequence[_Row]) -> int:
    """Count the images that have a near copy in another split."""
    return sum(row.has_near_copy for row in rows)


def _compare(stem: str, rows: Sequence[_Row]) -> None:
    """Warn where a file is named like a benchmark whose digests are known, and holds something else."""
    path = MANIFESTS / f"{stem.lower()}.csv"
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        known = {(line["split"], line["index"]): (line["label"], line["sha256"]) for line in csv.DictReader(file)}
    found = {(str(row.split), str(row.index)): (row.label, row.sha256) for row in rows}
    different = sum(found.get(key) != known.get(key) for key in found.keys() | known.keys())
    if different:
        log.warning("%s.npz is not the published file: %d of %d images or labels differ", stem, different, len(known))


def _closing_lines(config: Config, source: MedMnistFile, described: MedMnistSet, rows: Sequence[_Row]) -> Iterator[str]:
    counts = ", ".join(f"{split} {count}" for split, count in source.counts.items())
    yield f"{len(rows)} images ({counts}), finding {described.finding}: {', '.join(described.classes)}."
    if source.is_3d:
        spacing = config.cube_mm / source.image[0]
        yield f"Note: voxels are taken as {spacing:g} mm, by a cube of {config.cube_mm:g} mm; the file does not say it."
        if described.of_masks:
            yield f"Note: what is measured of the masks rests on that: {', '.join(MEASURES)} in labels.csv."
    yield "Note: the file does not say which images are of one patient; each counts as a patient of its own."
    if shared := _shared(rows):
        yield f"Note: {shared} image(s) stand, pixel for pixel, in two official splits; ingest.yaml acknowledges it."
    if near := _near_copies(rows):
        yield f"Note: {near} images have a near copy in another official split; ingest.yaml acknowledges it."
    out = config.out
    words = ["resdx", "ingest", str(out / "scans"), "--labels", str(out / "labels.csv")]
    words += ["--config", str(out / "ingest.yaml"), "--out", str(out / "cohort" / "cohort.csv")]
    yield f"Next: {shlex.join(words)}"
