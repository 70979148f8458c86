"""Scans with a planted lesion among what looks like one at first sight, and networks that learned to find it.

A lesion is a bright ball. Every scan, with and without one, also holds dark balls of the same size and contrast and
bright rods, so that brightness or an edge alone says nothing. Scans lie as scanners store them: axes swapped and
reversed at random, a few degrees oblique.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from phantoms.packages import MANIFEST, make_card, make_fingerprint
from scipy import ndimage

from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.geometry import Geometry, Unit
from pipeline.domain.plan import Plan, Window
from pipeline.domain.volume import Volume
from pipeline.explanations.explainer import Explainer
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.layout import lay_out
from pipeline.networks.settings import NetworkSettings
from pipeline.package.package import ModelPackage, save_package
from pipeline.preprocessing.scan_grid import onto_scan_grid
from pipeline.preprocessing.transforms import prepare

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")

SPACINGS = {2: (0.8, 1.1, 1.0), 3: (1.2, 0.9, 1.6)}
"""Millimetres between voxels of a scan, in anatomical order."""

RADII = {2: (0.10, 0.14), 3: (0.14, 0.18)}
"""Smallest and largest radius of a lesion, as parts of the width of the field of view."""

NOISE_HU, CONTRAST_HU = 25.0, 150.0
ROD_RADIUS_MM = 1.2


@dataclass(frozen=True, slots=True)
class Planted:
    """A scan, and which of its voxels are lesion (all False without one)."""

    volume: Volume
    lesion: NDArray[np.bool_]


def make_plan(ndim: int, side: int) -> Plan:
    return Plan(
        fingerprint="f" * 64,
        modality="CT",
        unit=Unit.MM,
        ndim=3 if ndim == 3 else 2,
        channels=1,
        spacing=(1.0,) * ndim,
        size=(side,) * ndim,
        intensity=Window(low=-250, high=250),
        depth=8,
        batch_size=16,
        precision="32",
    )


def plant(seed: int, ndim: int, side: int, *, lesion: bool) -> Planted:
    """One scan whose field of view is about `side` millimetres wide, the same for the same seed."""
    random = np.random.default_rng([seed, ndim, side])
    spacing = np.array(SPACINGS[ndim])
    extent = np.array([float(side)] * ndim + [0.0] * (3 - ndim))
    shape = [max(1, round(length / step)) for length, step in zip(extent, spacing, strict=True)]
    grids = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(shape, spacing, strict=True)]
    points = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1)
    hu = random.normal(0, NOISE_HU, shape)
    radius = random.uniform(*RADII[ndim]) * side
    centres = _apart(random, 3, ndim, side, radius)
    for centre in centres[1:]:
        hu[np.linalg.norm(points - centre, axis=-1) <= radius * random.uniform(0.7, 1.1)] -= CONTRAST_HU
    for _ in range(2):
        hu[_rod(random, points, ndim, side)] += CONTRAST_HU
    inside = np.linalg.norm(points - centres[0], axis=-1) <= radius
    if lesion:
        hu[inside] = random.normal(CONTRAST_HU, NOISE_HU, int(inside.sum()))
    volume, mask = _stored(random, hu, inside & lesion, spacing, ndim)
    return Planted(volume, mask)


def _apart(random: np.random.Generator, count: int, ndim: int, side: int, radius: float) -> list[NDArray[np.float64]]:
    """Centres of balls that do not touch, each whole within the field of view."""
    reach = side / 2 - radius
    found: list[NDArray[np.float64]] = []
    while len(found) < count:
        centre = np.zeros(3)
        centre[:ndim] = random.uniform(-reach, reach, ndim)
        if all(np.linalg.norm(centre - other) > 2.2 * radius for other in found):
            found.append(centre)
    return found


def _rod(random: np.random.Generator, points: NDArray[np.float64], ndim: int, side: int) -> NDArray[np.bool_]:
    """Voxels near a straight line through the field of view."""
    direction, through = np.zeros(3), np.zeros(3)
    direction[:ndim] = random.normal(size=ndim)
    direction /= np.linalg.norm(direction)
    through[:ndim] = random.uniform(-side / 3, side / 3, ndim)
    away = points - through
    along = away @ direction
    return np.asarray(np.linalg.norm(away - along[..., np.newaxis] * direction, axis=-1) <= ROD_RADIUS_MM)


def _stored(
    random: np.random.Generator,
    hu: NDArray[np.float64],
    mask: NDArray[np.bool_],
    spacing: NDArray[np.float64],
    ndim: int,
) -> tuple[Volume, NDArray[np.bool_]]:
    """Lay voxels in RAS+ order out as some scanner would; a single image stays as it is."""
    tilt = np.eye(3)
    if ndim == 3:
        angle = np.deg2rad(random.uniform(-8, 8))
        tilt[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix = np.eye(4)
    matrix[:3, :3] = tilt @ np.diag(spacing)
    matrix[:3, 3] = random.uniform(-50, 50, 3)
    if ndim == 3:
        order = random.permutation(3)
        hu, mask, matrix[:, :3] = hu.transpose(order), mask.transpose(order), matrix[:, order]
        for axis in np.flatnonzero(random.random(3) < 0.5):
            hu, mask = np.flip(hu, axis), np.flip(mask, axis)
            matrix[:, 3] += matrix[:, axis] * (hu.shape[axis] - 1)
            matrix[:, axis] *= -1
    voxels = np.ascontiguousarray(hu, dtype=np.float32)[np.newaxis]
    geometry = Geometry.from_matrix(voxels.shape[1:], matrix)
    return Volume(voxels=voxels, geometry=geometry, modality="CT"), np.ascontiguousarray(mask)


CELL = 4
"""Voxels of the image, and millimetres, between two cells of the last map of every network made here."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network and how long it learns: cases, half of them with a lesion, and times that it sees each."""

    ndim: int
    side: int
    backbone: str
    stem: str
    strides: tuple[int, ...]
    cases: int
    epochs: int

    @property
    def plan(self) -> Plan:
        return make_plan(self.ndim, self.side)

    @property
    def network(self) -> NetworkSettings:
        axes = 2 if self.backbone == "slices" else self.ndim
        strides = tuple((step,) * axes for step in self.strides)
        settings = {"kind": self.backbone, "depth": 8, "width": 8, "stem": self.stem, "strides": strides}
        return NetworkSettings.from_mapping({"backbone": settings})


RECIPES = {
    "2D": Recipe(2, 32, "resnet", "small", (2, 2), cases=400, epochs=6),
    "3D": Recipe(3, 24, "resnet", "small", (2, 2), cases=256, epochs=8),
    "3D by slices": Recipe(3, 24, "slices", "medium", (2, 2, 1), cases=256, epochs=6),
}
QUICK = Recipe(3, 24, "resnet", "medium", (2, 2, 1), cases=256, epochs=5)
"""In 3D, in seconds: its stem halves the image at once."""


def trained_package(folder: Path, recipe: Recipe) -> ModelPackage:
    """Package a network that was trained on scans with planted lesions."""
    return _packaged(folder, recipe, train(recipe))


def untrained_package(folder: Path, recipe: Recipe, seed: int = 3) -> ModelPackage:
    """Package the same network with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _packaged(folder, recipe, build_classifier(recipe.network, (LESION,), recipe.ndim, 1))


def _packaged(folder: Path, recipe: Recipe, classifier: Classifier) -> ModelPackage:
    return save_package(
        folder,
        classifier_state=classifier.state_dict(),
        network=recipe.network,
        plan=recipe.plan,
        fingerprint=make_fingerprint(recipe.ndim),
        findings=(LESION,),
        calibration=(),
        operating_points=(),
        manifest_digest=MANIFEST,
        card=make_card((LESION,)),
    )


def train(recipe: Recipe, seed: int = 0) -> Classifier:
    """Train on scans of their own, mirrored at random as training does by default."""
    plan, cases = recipe.plan, recipe.cases
    scans = [plant(1000 + number, plan.ndim, plan.size[0], lesion=number % 2 == 1) for number in range(cases)]
    images = torch.tensor(np.stack([prepare(scan.volume, plan) for scan in scans]))
    labels = (torch.arange(cases) % 2).float()
    layout = torch.channels_last_3d if plan.ndim == 3 else torch.contiguous_format
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        classifier = build_classifier(recipe.network, (LESION,), plan.ndim, plan.channels)
        lay_out(classifier, layout)
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-2, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 1e-2, total_steps=recipe.epochs * (cases // plan.batch_size)
        )
        for _ in range(recipe.epochs):
            for chosen in torch.randperm(cases)[: cases // plan.batch_size * plan.batch_size].split(plan.batch_size):
                mirrored = [axis + 2 for axis in range(plan.ndim) if torch.rand(()) < 0.5]
                logits = classifier(images[chosen].flip(mirrored).contiguous(memory_format=layout))[:, 0]
                optimizer.zero_grad()
                torch.nn.functional.binary_cross_entropy_with_logits(logits, labels[chosen]).backward()
                optimizer.step()
                schedule.step()
    return classifier.eval()


def heat_on_scan(explainer: Explainer, planted: Planted, plan: Plan) -> NDArray[np.float32]:
    """The whole way: a scan as it is stored, prepared, explained, and the heat back on its own voxels."""
    image = prepare(planted.volume, plan)
    return onto_scan_grid(explainer.heatmap(image, "lesion", "yes"), planted.volume.geometry, plan)


def share_near(heat: NDArray[np.float32], planted: Planted, *, box: bool = True) -> float:
    """Part of the heat that lies in the lesion dilated by one cell; 0 where there is no heat.

    A cell is a box; with ``box=False`` the lesion is dilated by a ball with the edge of the cell as its radius, which
    holds half of the box in 3D.
    """
    steps = CELL / np.array(planted.volume.geometry.spacing)
    if heat.shape[2] == 1:
        steps[2] = 0
    if box:
        near = ndimage.maximum_filter(planted.lesion, size=tuple(2 * int(step) + 1 for step in steps))
    else:
        near = ndimage.distance_transform_edt(~planted.lesion, sampling=planted.volume.geometry.spacing) <= CELL
    total = float(heat.sum(dtype=np.float64))
    return float(heat[near].sum(dtype=np.float64)) / total if total else 0.0
