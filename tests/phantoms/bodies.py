"""Synthetic bodies with a front and a back, a left and a right; other bodies, and ways to spoil them."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.domain.geometry import Geometry
from pipeline.domain.plan import Plan
from pipeline.domain.volume import Volume
from pipeline.preprocessing.appearance import appearance, negative
from pipeline.preprocessing.scan_facts import measure_facts
from pipeline.preprocessing.transforms import prepare
from pipeline.scope.fitting import Sample
from pipeline.scope.gate import Scan

SIDE = 24


def ball(grid: NDArray[np.float64], centre: tuple[float, ...], radius: float) -> NDArray[np.bool_]:
    place = np.array(centre).reshape(-1, *(1,) * (grid.ndim - 1))
    return np.asarray(((grid - place) ** 2).sum(axis=0) < radius**2)


def body(number: int, ndim: int, *, mirrored: bool = False) -> Volume:
    """Soft tissue in air, a large organ on the right, a spine at the back and an air bubble above, each a bit moved."""
    rng = np.random.default_rng(number)
    axes = np.meshgrid(*(np.linspace(-1, 1, SIDE),) * ndim, indexing="ij")
    grid = np.stack(axes) + rng.normal(0, 0.03, (ndim, *(1,) * ndim))
    third = (0.0,) * (ndim - 2)
    voxels = np.full(grid.shape[1:], -900.0)
    voxels[ball(grid, (0, 0, *third), 0.85 + rng.normal(0, 0.02))] = 20
    voxels[ball(grid, (0.35, 0.1, *(0.2,) * (ndim - 2)), 0.35 + rng.normal(0, 0.02))] = 140 + rng.normal(0, 10)
    voxels[ball(grid, (0, -0.6, *third), 0.18)] = 500 + rng.normal(0, 30)
    voxels[ball(grid, (-0.3, 0.3, *(0.5,) * (ndim - 2)), 0.2)] = -600
    voxels = ndimage.gaussian_filter(voxels, 0.6) + rng.normal(0, 15, voxels.shape)
    return scan(voxels[::-1] if mirrored else voxels)


def limb(number: int, ndim: int) -> Volume:
    """Another part of the body: two bones in a thin sleeve of tissue."""
    rng = np.random.default_rng(number + 10_000)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, SIDE),) * ndim, indexing="ij"))[:2]
    voxels = np.full((SIDE,) * ndim, -900.0)
    voxels[ball(grid, (0, 0), 0.45)] = 40
    for x in (-0.2, 0.2):
        voxels[ball(grid, (x + rng.normal(0, 0.03), 0.05), 0.12)] = 900
    return scan(ndimage.gaussian_filter(voxels, 0.6) + rng.normal(0, 15, voxels.shape))


def echo(number: int, ndim: int) -> Volume:
    """Another modality whose header claims to be CT: a speckled cone."""
    rng = np.random.default_rng(number + 20_000)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, SIDE),) * ndim, indexing="ij"))
    cone = np.abs(grid[0]) < 0.4 + 0.4 * grid[1]
    speckle = ndimage.gaussian_filter(rng.exponential(120, (SIDE,) * ndim), 0.5)
    return scan(np.where(cone, speckle, 0.0))


def scan(voxels: NDArray[np.float64], spacing: float = 2.0) -> Volume:
    cells = voxels.astype(np.float32).reshape(1, SIDE, SIDE, -1)
    geometry = Geometry.from_matrix((SIDE, SIDE, cells.shape[3]), np.diag([spacing] * 3 + [1.0]))
    return Volume(np.ascontiguousarray(cells), geometry, "CT")


def changed(volume: Volume, change: Callable[[NDArray[np.float32]], NDArray[np.floating]]) -> Volume:
    """The same header on other voxels (c, i, j, k)."""
    voxels = np.ascontiguousarray(change(volume.voxels), dtype=np.float32)
    return Volume(voxels, volume.geometry, volume.modality, body_part=volume.body_part)


def noise(voxels: NDArray[np.float32]) -> NDArray[np.floating]:
    return np.random.default_rng(0).normal(voxels.mean(), voxels.std(), voxels.shape)


SPOILED: dict[str, Callable[[NDArray[np.float32]], NDArray[np.floating]]] = {
    "inverted": lambda x: x.max() + x.min() - x,
    "noise": noise,
    "blank": lambda x: np.full_like(x, x.mean()),
    "left-right": lambda x: x[:, ::-1],
    "front-back": lambda x: x[:, :, ::-1],
    "exchanged": lambda x: x.swapaxes(1, 2),
}


def sample(volume: Volume, plan: Plan, patient: str, features: NDArray[np.float32] | None = None) -> Sample:
    image = prepare(volume, plan)
    return Sample(patient, Scan(measure_facts(volume), appearance(image), features), appearance(negative(image)))
