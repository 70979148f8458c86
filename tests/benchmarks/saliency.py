"""Planted lesions that heatmaps find, by method, in 2D and 3D, and what is left of it with randomised weights.

    python tests/benchmarks/saliency.py

Trains three small networks on scans with planted lesions (some minutes on one core) and explains 100 others that none
of them saw. Writes the section "saliency" of RESULTS.md.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from benchmarks.results import table, write_section
from numpy.typing import NDArray
from phantoms.lesions import CELL, RECIPES, Recipe, heat_on_scan, plant, share_near, trained_package, untrained_package

from pipeline.explanations.alignment import onto_image
from pipeline.explanations.grad_cam import grad_cam
from pipeline.explanations.hires_cam import hires_cam
from pipeline.explanations.mean_map import MeanMap
from pipeline.explanations.stage_map import Method, StageMap
from pipeline.package.package import ModelPackage

COUNT = 100
HEADS = ("network", "method", "lesions found", "within a ball", "median share", "hottest voxel in lesion", "randomised")
BODY = (
    f"{COUNT} scans with one lesion each, stored with axes swapped, reversed and oblique (3D), resampled for the "
    "network and the heat mapped back to the scan's own voxels. A lesion is found if at least half of the heat lies in "
    f"it dilated by one cell of the last map: a box of {CELL} voxels to each side, or the stricter ball. Randomised: "
    "found (box) by the same network with random weights."
)


GAMMA = 2.0
"""Of the scaling of shallow maps in LayerCAM."""


def layer_cam(stages: Sequence[StageMap], size: tuple[int, ...]) -> NDArray[np.float32]:
    """LayerCAM of all maps behind the stem, fused by their maximum (Jiang et al. 2021, equations 6 to 9)."""
    fused = np.zeros(size, dtype=np.float32)
    for stage in stages[1:]:
        heat = onto_image((np.maximum(0, stage.gradients) * stage.activations).sum(axis=0).clip(0), size)
        heat /= max(float(heat.max()), 1e-30)
        fused = np.maximum(fused, heat if stage is stages[-1] else np.tanh(GAMMA * heat))
    return fused


METHODS: dict[str, Method] = {"grad_cam": grad_cam, "hires_cam": hires_cam, "LayerCAM, a peer": layer_cam}


def rows(folder: Path) -> Iterator[tuple[str, ...]]:
    for name, recipe in RECIPES.items():
        trained = trained_package(folder / f"{name} trained", recipe)
        untrained = untrained_package(folder / f"{name} random", recipe)
        for method in METHODS:
            box, ball, peak = (np.array(values) for values in zip(*judged(method, trained, recipe), strict=True))
            lost = np.array([found for found, _, _ in judged(method, untrained, recipe)])
            counts = (str((box >= 0.5).sum()), str((ball >= 0.5).sum()), f"{np.median(box):.2f}", str(peak.sum()))
            yield (name, method, *counts, str((lost >= 0.5).sum()))


def judged(method: str, package: ModelPackage, recipe: Recipe) -> Iterator[tuple[float, float, bool]]:
    """Share of the heat near each lesion (box, ball), and whether the hottest voxel lies in it."""
    explainer = MeanMap(METHODS[method], package.build_classifiers())
    for number in range(COUNT):
        scan = plant(50_000 + number, recipe.ndim, recipe.side, lesion=True)
        heat = heat_on_scan(explainer, scan, recipe.plan)
        yield share_near(heat, scan), share_near(heat, scan, box=False), bool(scan.lesion.ravel()[heat.argmax()])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        body = f"{BODY}\n\n{table(HEADS, list(rows(Path(folder))))}"
    print(write_section("saliency", "Heatmaps of planted lesions", body, ("torch", "numpy", "scipy")))


if __name__ == "__main__":
    main()
