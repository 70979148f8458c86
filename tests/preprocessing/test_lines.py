"""Sampling along lines, held against SciPy's filters, which blur and interpolate whole images."""

from itertools import permutations

import numpy as np
import pytest
from scipy import ndimage

from pipeline.preprocessing.grid import Axis, sample
from pipeline.preprocessing.lines import along_each, line_matrix

RNG = np.random.default_rng(0)


def by_scipy(image: np.ndarray, axes: list[Axis]) -> np.ndarray:
    """Blur the whole image, then interpolate it, in float64."""
    out = image.astype(np.float64)
    for number, axis in enumerate(axes):
        if axis.sigma > 0:
            out = ndimage.gaussian_filter1d(out, axis.sigma, axis=number, mode="nearest", truncate=4.0)
    places = [np.arange(axis.target) * axis.step + axis.offset for axis in axes]
    return ndimage.map_coordinates(out, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")


def centred(source: int, target: int, step: float) -> Axis:
    return Axis(source, target, step, (source - 1) / 2 - (target - 1) / 2 * step)


GRIDS = {
    "coarser": [centred(40, 10, 4.0), centred(37, 12, 3.1), centred(20, 16, 1.3)],
    "finer": [centred(12, 30, 0.4), centred(9, 9, 0.99), centred(16, 20, 0.8)],
    "either": [centred(11, 40, 0.25), centred(50, 8, 6.3), centred(16, 10, 1.7)],
    "one kept": [centred(30, 10, 3.0), Axis(20, 14, 1.0, 3.0), centred(15, 30, 0.5)],
    "a picture": [centred(300, 7, 41.9), centred(200, 9, 22.2)],
    "a part": [centred(60, 5, 2.5), centred(60, 6, 0.7), centred(60, 4, 5.0)],
    "a line of one voxel": [centred(1, 1, 3.0), centred(30, 10, 3.0)],
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("layout", ["C", "F", "turned"])
def test_samples_are_those_of_filters_that_compute_all(name: str, layout: str) -> None:
    axes = GRIDS[name]
    image = RNG.normal(0, 100, [axis.source for axis in axes]).astype(np.float32, order="F" if layout == "F" else "C")
    if layout == "turned":
        image = np.ascontiguousarray(image.T)[::-1].T[:, ::-1]
    found = sample(image, axes, fill=-1000.0)
    assert found.flags.c_contiguous and found.dtype == np.float32
    inside = tuple(axis.inside for axis in axes)
    np.testing.assert_allclose(found[inside], by_scipy(image, axes)[inside], atol=2e-4)


def test_rows_are_weights_and_stay_on_the_line() -> None:
    matrix = line_matrix(np.linspace(-3, 52, 23), 50, sigma=5.0)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-6)
    assert matrix.shape == (23, 50) and matrix.data.min() > 0
    ends = matrix.toarray()
    np.testing.assert_array_equal(ends[0], line_matrix(np.zeros(1), 50, 5.0).toarray()[0])
    np.testing.assert_array_equal(ends[-1], line_matrix(np.full(1, 49.0), 50, 5.0).toarray()[0])


def test_a_voxel_that_does_not_count_may_be_no_number() -> None:
    line = np.array([1.0, 2.0, np.nan, 4.0, 5.0])
    found = line_matrix(np.array([0.5, 1.0, 3.0, 3.5]), 5, sigma=0.0) @ line
    np.testing.assert_array_equal(found, [1.5, 2.0, 4.0, 4.5])


def test_what_is_kept_is_kept_to_the_bit_in_any_layout() -> None:
    image = RNG.normal(size=(5, 6, 7)).astype(np.float32)
    for order in permutations(range(3)):
        laid_out = np.ascontiguousarray(image.transpose(order)).transpose(np.argsort(order))
        np.testing.assert_array_equal(along_each(laid_out, [None] * 3), image)


def test_the_same_bits_whatever_the_threads() -> None:
    import threadpoolctl

    axes = [centred(64, 20, 3.0), centred(64, 20, 2.9), centred(40, 20, 1.9)]
    image = RNG.normal(size=(64, 64, 40)).astype(np.float32)
    with threadpoolctl.threadpool_limits(1):
        one = sample(image, axes, 0.0)
    np.testing.assert_array_equal(sample(image, axes, 0.0), one)
