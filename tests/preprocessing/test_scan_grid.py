"""A heatmap lies where the scan has what it shows: markers go to the network's grid and back."""

import itertools

import numpy as np
import pytest

from pipeline.domain.geometry import Geometry, Unit
from pipeline.domain.plan import Plan, Window
from pipeline.domain.volume import Volume
from pipeline.preprocessing.scan_grid import onto_scan_grid, prepared_spacing
from pipeline.preprocessing.transforms import prepare

SHAPE, SPACING = (24, 30, 16), (0.9, 0.7, 2.5)
"""Anatomical order: right, anterior, superior."""

TURNS = [(order, flips) for order in itertools.permutations(range(3)) for flips in ((), (0,), (1, 2), (0, 1, 2))]


def plan_for(ndim: int = 3, **changes: object) -> Plan:
    base: dict[str, object] = {
        "fingerprint": "f",
        "modality": "CT",
        "unit": Unit.MM,
        "ndim": ndim,
        "channels": 1,
        "spacing": (1.0,) * ndim,
        "size": (20, 20, 36)[:ndim],
        "intensity": Window(low=0.0, high=1000.0),
        "depth": 10,
        "batch_size": 2,
        "precision": "auto",
    }
    return Plan.model_validate(base | changes)


def stored(
    voxels: np.ndarray,
    order: tuple[int, ...],
    flips: tuple[int, ...],
    spacing: tuple[float, ...] = SPACING,
    *,
    oblique: bool = True,
) -> Volume:
    """Voxels in RAS+ order as a scanner might have stored them."""
    matrix = np.diag([*spacing, 1.0])
    if oblique:
        a, b = np.deg2rad(14), np.deg2rad(-9)
        about_z = [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
        about_x = [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
        matrix[:3, :3] = np.array(about_z) @ np.array(about_x) @ matrix[:3, :3]
    matrix[:3, 3] = [-31.0, 12.5, 700.0]
    voxels = voxels.transpose(order)
    matrix[:, :3] = matrix[:, list(order)]
    for axis in flips:
        voxels = np.flip(voxels, axis)
        matrix[:, 3] += matrix[:, axis] * (voxels.shape[axis] - 1)
        matrix[:, axis] *= -1
    geometry = Geometry.from_matrix(voxels.shape, matrix)
    return Volume(np.ascontiguousarray(voxels, dtype=np.float32)[np.newaxis], geometry, "CT")


def marked(shape: tuple[int, ...], at: tuple[int, ...]) -> np.ndarray:
    """A bright bump of a few voxels whose peak is one voxel."""
    grids = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    far = sum(((grid - place) / 1.5) ** 2 for grid, place in zip(grids, at, strict=True))
    return 1000 * np.exp(-np.asarray(far))


PLANS = {
    "finer": plan_for(spacing=(0.45, 0.7, 1.25), size=(56, 32, 36)),
    "coarser": plan_for(spacing=(1.6, 1.5, 2.5), size=(16, 16, 16)),
    "cropped": plan_for(spacing=(0.9, 0.7, 2.5), size=(17, 18, 9)),
    "padded": plan_for(spacing=(0.9, 0.7, 2.5), size=(33, 40, 21)),
    "own spacing": plan_for(spacing=None, size=(20, 31, 16)),
    "fitted": plan_for(spacing=None, fit=True, size=(32, 32, 64)),
    "mixed": plan_for(),
}
AT = (10, 18, 6)


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize(("order", "flips"), TURNS)
def test_a_marker_comes_back_to_its_voxel(name: str, order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    volume = stored(marked(SHAPE, AT), order, flips)
    assert volume.geometry.orientation()[0][0] == order.index(0)
    image = prepare(volume, PLANS[name])[0]
    heat = np.zeros_like(image)
    heat[np.unravel_index(image.argmax(), image.shape)] = 1.0  # one voxel alone: no shape helps to find it

    back = onto_scan_grid(heat, volume.geometry, PLANS[name])

    assert (back.shape, back.dtype) == (volume.geometry.shape, np.float32)
    found = np.unravel_index(back.argmax(), back.shape)
    expected = np.unravel_index(volume.voxels[0].argmax(), back.shape)
    steps = [t / s for t, s in zip(prepared_spacing(volume.geometry, PLANS[name]), SPACING, strict=True)]
    slack = [(steps[world] + 1) / 2 if steps[world] > 1.001 else 0 for world in order]  # a wider voxel holds several
    assert all(abs(a - b) <= most for a, b, most in zip(found, expected, slack, strict=True)), (found, expected)


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize(("order", "flips"), TURNS[::5])
def test_a_smooth_marker_comes_back_exactly(name: str, order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    volume = stored(marked(SHAPE, AT), order, flips)
    image = prepare(volume, PLANS[name])[0]

    back = onto_scan_grid(image - image.min(), volume.geometry, PLANS[name])

    assert back.argmax() == volume.voxels[0].argmax()


def test_an_unresampled_field_comes_back_bit_for_bit_and_outside_is_zero() -> None:
    random = np.random.default_rng(4).uniform(1, 1000, SHAPE).astype(np.float32)
    volume = stored(random, (2, 0, 1), (0, 2))
    plan = plan_for(spacing=SPACING, size=(17, 40, 9))  # cropped, padded, cropped
    image = prepare(volume, plan)[0] + 1  # (0, 2]

    back = onto_scan_grid(image, volume.geometry, plan)

    whole = plan_for(spacing=SPACING, size=SHAPE)
    everywhere = onto_scan_grid(prepare(volume, whole)[0] + 1, volume.geometry, whole)
    np.testing.assert_array_equal(back[back > 0], everywhere[back > 0])
    assert (back > 0).sum() == 17 * 30 * 9
    kept = np.argwhere(back.transpose(np.argsort([2, 0, 1])).any(axis=(1, 2)))
    assert np.ptp(kept) == 16


def test_values_lie_between_those_of_the_heatmap() -> None:
    heat = np.random.default_rng(0).uniform(0, 1, (16, 16, 16)).astype(np.float32)
    volume = stored(np.zeros(SHAPE), (0, 1, 2), ())
    back = onto_scan_grid(heat, volume.geometry, PLANS["coarser"])

    assert back.min() >= 0 and back.max() <= heat.max()
    constant = onto_scan_grid(np.full_like(heat, 0.5), volume.geometry, PLANS["coarser"])
    assert set(np.unique(constant.round(5))) <= {0.0, 0.5}


IMAGES = {
    "projection": (plan_for(2, spacing=(0.5, 0.5), size=(70, 60)), Unit.MM),
    "fitted picture": (plan_for(2, spacing=None, fit=True, size=(28, 28), unit=Unit.PIXEL), Unit.PIXEL),
    "cropped picture": (plan_for(2, spacing=None, size=(31, 50), unit=Unit.PIXEL), Unit.PIXEL),
}


@pytest.mark.parametrize("name", IMAGES)
def test_a_single_image_stays_as_it_is_stored(name: str) -> None:
    plan, unit = IMAGES[name]
    shape = (40, 56)
    matrix = np.diag([0.8, 0.6, 1.0, 1.0]) if unit is Unit.MM else np.eye(4)
    matrix[0, 0] *= -1  # a single image is never turned
    voxels = marked(shape, (13, 31)).astype(np.float32)[np.newaxis, ..., np.newaxis]
    volume = Volume(voxels, Geometry.from_matrix((*shape, 1), matrix, unit), "CT")
    image = prepare(volume, plan)[0]

    back = onto_scan_grid(image - image.min(), volume.geometry, plan)

    assert back.shape == (*shape, 1)
    assert np.unravel_index(back.argmax(), back.shape) == (13, 31, 0)


def test_the_spacing_of_the_prepared_grid() -> None:
    volume = stored(np.zeros(SHAPE), (1, 2, 0), (1,))

    assert prepared_spacing(volume.geometry, PLANS["finer"]) == (0.45, 0.7, 1.25)
    np.testing.assert_allclose(prepared_spacing(volume.geometry, PLANS["own spacing"]), SPACING)
    widest = max(24 * 0.9 / 32, 30 * 0.7 / 32, 16 * 2.5 / 64)
    np.testing.assert_allclose(prepared_spacing(volume.geometry, PLANS["fitted"]), [widest] * 3)


def test_a_field_between_two_voxels_of_the_scan_has_none_of_them() -> None:
    volume = stored(np.zeros((4, 4, 4)), (0, 1, 2), (), (10.0, 10.0, 10.0), oblique=False)
    plan = plan_for(size=(3, 3, 3))

    assert not onto_scan_grid(np.ones((3, 3, 3), np.float32), volume.geometry, plan).any()


def test_a_heatmap_of_another_plan_is_a_bug() -> None:
    volume = stored(np.zeros(SHAPE), (0, 1, 2), ())
    with pytest.raises(AssertionError, match="the plan"):
        onto_scan_grid(np.zeros((5, 5, 5), np.float32), volume.geometry, plan_for())
