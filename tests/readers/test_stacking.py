"""A linear field, sampled by scanners on different grids, is one field: stacked, it lands on the closed form."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Geometry, Unit
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.stacking import stack

SLOPE, LEVEL = np.array([3.0, -2.0, 5.0]), 40.0


def world(geometry: Geometry) -> NDArray[np.float64]:
    """RAS+ place of every voxel, (3, i, j, k)."""
    index = np.indices(geometry.shape).reshape(3, -1)
    matrix = geometry.matrix
    return (matrix[:3, :3] @ index + matrix[:3, 3:]).reshape(3, *geometry.shape)


def field(geometry: Geometry) -> NDArray[np.float64]:
    return np.tensordot(SLOPE, world(geometry), 1) + LEVEL


def grid(shape: tuple[int, int, int], spacing: tuple[float, float, float], origin: tuple[float, ...]) -> Geometry:
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = origin
    return Geometry.from_matrix(shape, matrix)


def oblique(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], origin: tuple[float, float, float]
) -> Geometry:
    """Turned by 20 degrees about z, then 15 about x, with the first two axes swapped and one of them flipped."""
    a, b = np.radians(20), np.radians(15)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    axes = about_x @ about_z @ np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    matrix[:3, 3] = origin
    return Geometry.from_matrix(shape, matrix)


def scan(geometry: Geometry, **more: object) -> Volume:
    return Volume(field(geometry).astype(np.float32)[np.newaxis], geometry, "MR", **more)  # type: ignore[arg-type]


FIRST = grid((14, 12, 10), (1.0, 1.25, 2.0), (-6.0, -7.0, -9.0))
OTHER = oblique((13, 16, 9), (1.1, 0.9, 1.7), (5.0, -9.0, -6.0))


def test_a_linear_field_lands_voxel_for_voxel_on_the_closed_form() -> None:
    volume = stack([scan(FIRST), scan(OTHER)])
    assert volume.geometry == FIRST and volume.voxels.shape == (2, *FIRST.shape) and volume.is_stacked
    valid = volume.valid
    assert valid is not None and valid[0].all()
    place = world(FIRST).reshape(3, -1)
    inverse = np.linalg.inv(OTHER.matrix)
    index = inverse[:3, :3] @ place + inverse[:3, 3:]
    inside = ((index >= 0) & (index <= np.array(OTHER.shape)[:, np.newaxis] - 1)).all(axis=0).reshape(FIRST.shape)
    assert 200 < inside.sum() < inside.size - 200, "the phantom has to reach past both fields of view"
    np.testing.assert_array_equal(valid[1], inside)
    np.testing.assert_array_equal(volume.voxels[0], field(FIRST).astype(np.float32))
    np.testing.assert_allclose(volume.voxels[1][inside], field(FIRST)[inside], atol=1e-4)
    assert (volume.voxels[1][~inside] == 0).all()


def test_the_order_of_channels_says_whose_grid_it_is() -> None:
    volume = stack([scan(OTHER), scan(FIRST)])
    assert volume.geometry == OTHER
    assert volume.valid is not None
    np.testing.assert_allclose(volume.voxels[1][volume.valid[1]], field(OTHER)[volume.valid[1]], atol=1e-4)


def test_one_grid_is_copied_bit_for_bit() -> None:
    noise = np.random.default_rng(1).normal(0, 1e4, (1, *FIRST.shape)).astype(np.float32)
    moved = FIRST.matrix
    moved[:3, 3] += 1e-6
    volume = stack([scan(FIRST), Volume(noise, Geometry.from_matrix(FIRST.shape, moved), "MR")])
    np.testing.assert_array_equal(volume.voxels[1], noise[0])


def test_no_voxel_is_made_from_padding() -> None:
    padded = np.ones(OTHER.shape, dtype=bool)
    padded[10:, :, :] = False
    voxels = field(OTHER).astype(np.float32)
    voxels[~padded] = -30_000
    volume = stack([scan(FIRST), Volume(voxels[np.newaxis], OTHER, "MR", padded)])
    whole = stack([scan(FIRST), scan(OTHER)])
    assert volume.valid is not None and whole.valid is not None
    assert 200 < volume.valid[1].sum() < whole.valid[1].sum() - 100
    np.testing.assert_allclose(volume.voxels[1][volume.valid[1]], field(FIRST)[volume.valid[1]], atol=1e-4)


def test_an_empty_channel_is_zeros_valid_nowhere_and_noted() -> None:
    volume = stack([scan(FIRST, notes=("as read",)), None])
    assert volume.valid is not None and volume.valid[0].all() and not volume.valid[1].any()
    assert (volume.voxels[1] == 0).all()
    assert volume.notes[0] == "as read" and volume.notes[-1] == "channel 2 of 2 has no series and is empty"
    np.testing.assert_array_equal(np.sort(volume.valid_voxels()), np.sort(field(FIRST).astype(np.float32).ravel()))


def test_reordering_to_ras_takes_the_masks_along() -> None:
    volume = stack([scan(OTHER), scan(FIRST)]).canonical()
    assert volume.valid is not None and volume.valid.shape == volume.voxels.shape
    for channel in range(2):
        expected = field(volume.geometry)[volume.valid[channel]]
        np.testing.assert_allclose(volume.voxels[channel][volume.valid[channel]], expected, atol=1e-4)


FAR = grid((5, 5, 5), (1.0, 1.0, 1.0), (500.0, 0.0, 0.0))
FLAT = grid((14, 12, 1), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (scan(FAR), "reaches no voxel"),
        (scan(OTHER, valid=np.zeros(OTHER.shape, bool)), "no valid voxel"),
        (scan(FLAT), "single image"),
        (Volume(np.zeros((3, *OTHER.shape), np.float32), OTHER, "MR"), "colour"),
        (Volume(np.zeros((1, *OTHER.shape), np.float32), OTHER, "CT"), "different modalities"),
        (scan(Geometry.from_matrix((4, 4, 4), np.eye(4), Unit.PIXEL)), "millimetres"),
    ],
)
def test_what_cannot_lie_on_the_grid_is_refused(other: Volume, what: str) -> None:
    with pytest.raises(RejectedInput, match=what) as caught:
        stack([scan(FIRST), other])
    assert caught.value.code == Code.DOES_NOT_FIT
