import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.domain.flips import flip_combinations
from pipeline.engines import flips
from pipeline.engines.flips import average_over_flips


def test_combinations_are_all_subsets_the_unflipped_first() -> None:
    assert flip_combinations((2, 0)) == ((), (0,), (2,), (0, 2))


def test_the_mean_over_flips_of_a_corner_is_the_mean_of_the_corners() -> None:
    image = np.arange(24, dtype=np.float32).reshape(1, 1, 2, 3, 4)

    def corner(x: np.ndarray) -> np.ndarray:
        return x[:, :, 0, 0, 0]

    assert average_over_flips(corner, image, ())[0, 0] == image[0, 0, 0, 0, 0]
    assert average_over_flips(corner, image, (1,))[0, 0] == image[0, 0, 0, ::2, 0].mean()
    assert average_over_flips(corner, image, (0, 1, 2))[0, 0] == image[0, 0, ::1, ::2, ::3].mean()


def test_a_mirrored_scan_gets_the_same_answer() -> None:
    rng = np.random.default_rng(1)
    image = rng.normal(size=(1, 1, 5, 4)).astype(np.float32)
    weights = rng.normal(size=image.shape).astype(np.float32)

    def run(x: np.ndarray) -> np.ndarray:
        return np.sum(x * weights, axis=(1, 2, 3))[:, np.newaxis]

    mirrored = np.ascontiguousarray(image[:, :, ::-1])
    assert np.allclose(average_over_flips(run, image, (0,)), average_over_flips(run, mirrored, (0,)), atol=1e-6)
    assert not np.allclose(run(image), run(mirrored), atol=1e-6)


def test_large_images_are_run_in_batches_of_no_more_than_one_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are batched, each mirror image counts once."""
    image = np.random.default_rng(0).normal(size=(1, 1, 2, 3, 4)).astype(np.float32)
    sizes: list[int] = []

    def corner_seen(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        sizes.append(len(batch))
        return batch[:, :, 0, 0, 0]

    expected = image[0, 0, ::1, ::2, ::3].mean()
    for voxels, batches in ((8 * image.size, [8]), (3 * image.size, [3, 3, 2]), (1, [1] * 8)):
        sizes.clear()
        monkeypatch.setattr(flips, "TOGETHER", voxels)
        np.testing.assert_allclose(average_over_flips(corner_seen, image, (0, 1, 2)), [[expected]], rtol=1e-6)
        assert sizes == batches
