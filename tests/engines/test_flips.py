import numpy as np

from pipeline.engines.flips import average_over_flips, flip_combinations


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
        return np.array([[np.sum(x * weights)]], dtype=np.float32)

    mirrored = np.ascontiguousarray(image[:, :, ::-1])
    assert np.allclose(average_over_flips(run, image, (0,)), average_over_flips(run, mirrored, (0,)), atol=1e-6)
    assert not np.allclose(run(image), run(mirrored), atol=1e-6)
