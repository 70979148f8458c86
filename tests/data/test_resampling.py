"""The compiled interpolation: exact where it must be, and equal to two independent ones."""

import sys

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F

from pipeline.data import resampling
from pipeline.data.resampling import resample
from pipeline.data.settings import AugmentationSettings

pytest.importorskip("numba")

SHAPES = [(2, 6, 7, 8), (1, 5, 9, 1), (1, 1, 6, 7), (3, 9, 8), (1, 1, 12)]


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def sampled(image: np.ndarray, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    out = np.full_like(image, np.nan)
    resample(image, np.asarray(matrix, dtype=float), np.asarray(offset, dtype=float), out)
    return out


def turned(ndim: int) -> tuple[np.ndarray, np.ndarray]:
    """A map that rotates, shears, and leaves the image on every side."""
    rng = np.random.default_rng(2)
    return np.eye(ndim) * 1.3 + rng.uniform(-0.4, 0.4, (ndim, ndim)), rng.uniform(-2, 1, ndim)


@pytest.mark.parametrize("shape", SHAPES)
def test_identity_and_mirrors_are_exact_to_the_bit(shape: tuple[int, ...]) -> None:
    image, ndim = pixels(*shape), len(shape) - 1
    np.testing.assert_array_equal(sampled(image, np.eye(ndim), np.zeros(ndim)), image)
    mirrored = sampled(image, -np.eye(ndim), np.array(shape[1:]) - 1)
    np.testing.assert_array_equal(mirrored, np.flip(image, tuple(range(1, ndim + 1))))


def test_a_quarter_turn_moves_voxels_to_their_places() -> None:
    image = pixels(2, 7, 7, 7)
    quarter = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # output (i, j, k) holds input (j, 6 - i, k)
    np.testing.assert_array_equal(sampled(image, quarter, [0, 6, 0]), np.rot90(image, -1, axes=(1, 2))[:, ::-1, ::-1])


def test_half_a_voxel_is_the_mean_of_two_and_the_edge_repeats() -> None:
    image = np.array([[[1.0, 2.0, 4.0, 8.0]]], dtype=np.float32)
    np.testing.assert_array_equal(sampled(image, np.eye(2), [0, 0.5])[0, 0], [1.5, 3, 6, 8])
    np.testing.assert_array_equal(sampled(image, np.eye(2), [5, -1.5])[0, 0], [1, 1, 1.5, 3])


@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_scipy(shape: tuple[int, ...]) -> None:
    image = pixels(*shape)
    matrix, offset = turned(len(shape) - 1)
    expected = [ndimage.affine_transform(one, matrix, offset, order=1, mode="nearest") for one in image.astype(float)]
    np.testing.assert_allclose(sampled(image, matrix, offset), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 6, 7, 8), (3, 9, 8)])
def test_agrees_with_grid_sample(shape: tuple[int, ...]) -> None:
    image, ndim = pixels(*shape), len(shape) - 1
    matrix, offset = turned(ndim)
    lengths = np.array(shape[1:])
    index = np.stack(np.meshgrid(*map(np.arange, lengths), indexing="ij"), axis=-1)
    grid = ((2 * (index @ matrix.T + offset) + 1) / lengths - 1)[..., ::-1].copy()
    found = F.grid_sample(
        torch.from_numpy(image)[None].double(), torch.from_numpy(grid)[None], padding_mode="border", align_corners=False
    )
    np.testing.assert_allclose(sampled(image, matrix, offset), found[0], atol=1e-5)


def test_compiled_and_plain_code_agree_to_the_bit() -> None:
    """No multiplication is fused with an addition, so that every processor rounds alike."""
    image = pixels(2, 4, 5, 6)
    matrix, offset = (part.astype(np.float32) for part in turned(3))
    plain, compiled = np.empty_like(image), sampled(image, matrix, offset)
    resampling._sample(image, plain, matrix, offset)
    np.testing.assert_array_equal(plain, compiled)


def test_what_cannot_be_sampled_never_reaches_the_kernel() -> None:
    """Compiled code checks no index: coordinates that are not finite, or another layout, must not get there."""
    image = pixels(1, 4, 5, 6)
    for matrix, offset, given in (
        (np.full((3, 3), np.nan), np.zeros(3), image),
        (np.eye(3), np.array([0, np.inf, 0]), image),
        (np.eye(3), np.zeros(3), image.transpose(0, 3, 2, 1)),
    ):
        with pytest.raises(AssertionError):
            resample(given, matrix, offset, np.empty_like(image))


def test_without_numba_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, still = AugmentationSettings(rotation=5), AugmentationSettings()
    assert resampling.facts(turns) == {"interpolation": "numba"} and resampling.facts(still) == {}
    monkeypatch.setitem(sys.modules, "numba.core.config", None)
    assert resampling.resampler.__wrapped__() == "torch"
    monkeypatch.setattr(resampling, "resampler", resampling.resampler.__wrapped__)
    assert resampling.kernel.__wrapped__() is None
