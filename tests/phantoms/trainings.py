"""Short trainings on small images of spheres, with a journal that remembers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from phantoms.spheres import FINDINGS, SIZE, make_data, make_manifest

from pipeline.domain.case import Case, Split
from pipeline.domain.encoding import encode_labels
from pipeline.domain.manifest import Manifest
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.training.auxiliary import measures_beside
from pipeline.training.fitting import Fitted, fit
from pipeline.training.precision import PrecisionChoice
from pipeline.training.settings import TrainingSettings

SEED = 5
IMAGES = make_manifest(train=32, validation=16, ndim=2)
"""Four batches of 8 an epoch."""

MEASURED = ("side", "patient")
AUXILIARY: dict[str, Any] = {"auxiliary": {"covariates": MEASURED, "weight": 1.0, "turns": 0.5}}
"""Settings of a training that learns what :func:`measured` says of its cases, and how they were turned."""


class Memory:
    """A journal in memory."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.artifacts: dict[str, str] = {}
        self.tagged: dict[str, str] = {}

    def params(self, values: Mapping[str, str | int | float | bool]) -> None:
        pass

    def tags(self, values: Mapping[str, str]) -> None:
        self.tagged |= values

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.rows.append((step, dict(values)))

    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        self.rows += [(step, {name: value}) for step, value in points]

    def artifact(self, path: Path, folder: str = "") -> None:
        self.artifacts[path.name] = folder

    def having(self, prefix: str) -> dict[int, dict[str, float]]:
        """Metrics whose name begins so, by step."""
        found: dict[int, dict[str, float]] = {}
        for step, values in self.rows:
            chosen = {name: value for name, value in values.items() if name.startswith(prefix)}
            if chosen:
                found[step] = chosen
        return found


def network(**backbone: Any) -> Classifier:
    """A small residual network for images, equal weights each time."""
    settings = NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "depth": 8, "width": 4} | backbone})
    torch.manual_seed(SEED)
    return build_classifier(settings, FINDINGS, 2, 1)


def train(
    folder: Path,
    cache: Path,
    *,
    classifier: Classifier | None = None,
    data: Any = None,
    manifest: Manifest = IMAGES,
    journal: Memory | None = None,
    precision: PrecisionChoice | None = None,
    **settings: Any,
) -> Fitted:
    """Train on images as :func:`pipeline.training.fitting.fit` does."""
    chosen = {"epochs": 2, "warmup_epochs": 1, "learning_rate": 3e-3, "accelerator": "cpu"} | settings
    settled = TrainingSettings.model_validate(chosen)
    return fit(
        classifier or network(),
        data or make_data(cache, manifest, ndim=2, seed=SEED),
        settled,
        labels={split: encode_labels(manifest.of(split), FINDINGS) for split in Split},
        folder=folder,
        precision=precision or PrecisionChoice(reason="test"),
        journal=journal or Memory(),
        seed=SEED,
        measures=measures_beside(settled.auxiliary, measured(manifest.of(Split.TRAIN))),
    )


def measured(cases: Sequence[Case]) -> list[Case]:
    """Cases with the side of their blob, in voxels, and the number of their patient; every fifth lacks the first."""
    sides = [str(2 * SIZE.classes.index(case.labels["size"])) if "size" in case.labels else "" for case in cases]
    return [
        case.model_copy(update={"covariates": {"side": side if n % 5 else "", "patient": case.patient[1:]}})
        for n, (case, side) in enumerate(zip(cases, sides, strict=True))
    ]


def same(one: Any, other: Any, ignored: tuple[str, ...] = ()) -> bool:
    """Whether two checkpoints agree bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        keys = [key for key in one if key not in ignored]
        return set(one) == set(other) and all(same(one[key], other[key], ignored) for key in keys)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(a, b, ignored) for a, b in zip(one, other, strict=True))
    return bool(one == other)
