"""Shapes whose measures are known in closed form."""

import numpy as np
import pytest

from pipeline.preprocessing.mask_shape import MEASURES, measure_mask


def measured(mask: np.ndarray, spacing: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(MEASURES, measure_mask(mask, spacing), strict=True))


@pytest.mark.parametrize("at", [(0, 0, 0), (3, 2, 1)], ids=["at the edge", "inside"])
def test_a_box_has_the_measures_of_a_box(at: tuple[int, int, int]) -> None:
    """5 x 3 x 9 voxels of 2 x 1 x 0.5 mm; a row of n voxels of side s has the variance s^2 (n^2 - 1) / 12."""
    mask = np.zeros((12, 9, 14), dtype=bool)
    mask[tuple(slice(first, first + side) for first, side in zip(at, (5, 3, 9), strict=True))] = True
    found = measured(mask, (2.0, 1.0, 0.5))
    assert found["volume_ml"] == pytest.approx(10 * 3 * 4.5 / 1000)
    assert found["surface_cm2"] == pytest.approx(2 * (10 * 3 + 10 * 4.5 + 3 * 4.5) / 100)
    assert found["thickest_mm"] == pytest.approx(2 * 2.0), "two voxels of 1 mm from the middle to the outside"
    expected = [2 * np.sqrt(5) * side * np.sqrt((n**2 - 1) / 12) for n, side in ((5, 2.0), (9, 0.5), (3, 1.0))]
    assert [found[name] for name in ("length_mm", "breadth_mm", "depth_mm")] == pytest.approx(expected)


def test_a_turned_ellipsoid_keeps_its_extents_and_a_thick_rod_is_thicker_than_a_thin_one() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(61) - 30.0] * 3, indexing="ij"), axis=-1)
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    for axes in (np.eye(3), turn):
        along = grid @ axes
        found = measured((along**2 / np.array([24.0, 12.0, 8.0]) ** 2).sum(axis=-1) <= 1, (1.0, 1.0, 1.0))
        assert found["volume_ml"] == pytest.approx(4 / 3 * np.pi * 24 * 12 * 8 / 1000, rel=0.01)
        extents = [found[name] for name in ("length_mm", "breadth_mm", "depth_mm")]
        assert extents == pytest.approx([48, 24, 16], rel=0.01)
        assert found["thickest_mm"] == pytest.approx(16, abs=2), "the smallest axis, to a voxel and a half"
    thin, thick = (measured(np.hypot(*np.moveaxis(grid[..., :2], -1, 0)) < radius, (1.0,) * 3) for radius in (3, 9))
    assert thin["thickness_mm"] == pytest.approx(6, abs=1) and thick["thickness_mm"] == pytest.approx(18, abs=2)


def test_a_single_voxel_and_none_have_no_extent() -> None:
    mask = np.zeros((4, 4, 4), dtype=bool)
    assert measure_mask(mask, (1.0, 1.0, 1.0)) == (0.0,) * len(MEASURES)
    mask[1, 2, 3] = True
    found = measured(mask, (1.0, 1.0, 1.0))
    assert found["volume_ml"] == pytest.approx(1e-3) and found["surface_cm2"] == pytest.approx(0.06)
    assert found["length_mm"] == found["depth_mm"] == 0.0
