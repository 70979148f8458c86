"""The heat lies on the lesion, right way up, on the scan's own voxels; a network that learned nothing has none there.

Adebayo et al. 2018, *Sanity Checks for Saliency Maps*: a map that stays where it is when the weights are randomised
shows the image, not the network.
"""

from pathlib import Path

import numpy as np
import pytest
from phantoms.lesions import QUICK, RECIPES, Recipe, heat_on_scan, plant, share_near, trained_package, untrained_package

from pipeline.config import parts
from pipeline.explanations.explainer import Explainer
from pipeline.package.package import ModelPackage

METHODS = [name for name, _ in parts("pipeline.explanations")]


def build(method: str, package: ModelPackage) -> Explainer:
    explainer: Explainer = dict(parts("pipeline.explanations"))[method]().build(package)  # type: ignore[attr-defined]
    return explainer


def found(method: str, package: ModelPackage, recipe: Recipe, count: int) -> int:
    """Lesions, of `count` that no network saw, with at least half of the heat within a cell of them."""
    explainer = build(method, package)
    scans = [plant(50_000 + number, recipe.ndim, recipe.side, lesion=True) for number in range(count)]
    return sum(share_near(heat_on_scan(explainer, scan, recipe.plan), scan) >= 0.5 for scan in scans)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelPackage]:
    folder = tmp_path_factory.mktemp("quick")
    return {"2D": trained_package(folder / "2D", RECIPES["2D"]), "3D": trained_package(folder / "3D", QUICK)}


@pytest.mark.parametrize(("method", "space"), [("grad_cam", "2D"), ("hires_cam", "2D"), ("hires_cam", "3D")])
def test_twenty_lesions(quick: dict[str, ModelPackage], tmp_path: Path, method: str, space: str) -> None:
    recipe = {"2D": RECIPES["2D"], "3D": QUICK}[space]

    assert found(method, quick[space], recipe, 20) >= 18
    assert found(method, untrained_package(tmp_path / "random", recipe), recipe, 20) <= 4


def test_the_hottest_voxel_lies_in_the_lesion(quick: dict[str, ModelPackage]) -> None:
    explainer = build("hires_cam", quick["3D"])
    scans = [plant(60_000 + number, 3, QUICK.side, lesion=True) for number in range(20)]
    heats = [heat_on_scan(explainer, scan, QUICK.plan) for scan in scans]
    hits = [scan.lesion.ravel()[heat.argmax()] for scan, heat in zip(scans, heats, strict=True)]

    assert sum(hits) >= 17
    turned = [scan.lesion[::-1, ::-1, ::-1].ravel()[heat.argmax()] for scan, heat in zip(scans, heats, strict=True)]
    assert sum(turned) <= 3  # a map that is turned round would be seen


@pytest.mark.long
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", RECIPES)
def test_a_hundred_lesions(tmp_path: Path, name: str) -> None:
    recipe = RECIPES[name]
    trained = trained_package(tmp_path / "trained", recipe)
    untrained = untrained_package(tmp_path / "random", recipe)
    counts = {
        method: (found(method, trained, recipe, 100), found(method, untrained, recipe, 100)) for method in METHODS
    }

    assert all(hits >= 90 for hits, _ in counts.values()), counts
    assert all(hits <= 20 for _, hits in counts.values()), counts


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_network_of_slices_points_to_the_right_slice(tmp_path: Path) -> None:
    recipe = RECIPES["3D by slices"]
    package = trained_package(tmp_path / "trained", recipe)
    for method in METHODS:
        explainer = build(method, package)
        hits = 0
        for number in range(30):
            scan = plant(70_000 + number, 3, recipe.side, lesion=True)
            heat = heat_on_scan(explainer, scan, recipe.plan)
            stored = scan.volume.geometry.orientation()[2][0]  # axis of the scan along which its axial slices lie
            within = tuple(axis for axis in range(3) if axis != stored)
            hits += bool(scan.lesion.any(axis=within)[np.argmax(heat.sum(axis=within))])
        assert hits >= 27, (method, hits)
