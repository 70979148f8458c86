"""The one path from scan to input: known voxels, linear ramps, closed forms."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.domain.geometry import Geometry, Unit
from pipeline.domain.plan import Plan, Window, ZScore
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.preprocessing.transforms import prepare

WIDE = Window(low=-1000.0, high=1000.0)


def make_plan(**changes: object) -> Plan:
    base: dict[str, object] = {
        "fingerprint": "f",
        "modality": "CT",
        "unit": Unit.MM,
        "ndim": 3,
        "channels": 1,
        "spacing": (1.0, 1.0, 1.0),
        "size": (8, 8, 8),
        "intensity": WIDE,
        "depth": 10,
        "batch_size": 2,
        "precision": "auto",
    }
    return Plan.model_validate(base | changes)


def make_volume(
    voxels: np.ndarray,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    *,
    modality: str = "CT",
    unit: Unit = Unit.MM,
    affine: np.ndarray | None = None,
    valid: np.ndarray | None = None,
) -> Volume:
    voxels = np.asarray(voxels, dtype=np.float32)
    voxels = voxels if voxels.ndim == 4 else voxels[np.newaxis]
    matrix = np.diag([*spacing, 1.0]) if affine is None else affine
    geometry = Geometry.from_matrix(voxels.shape[1:], matrix, unit)
    return Volume(voxels=voxels, geometry=geometry, modality=modality, valid=valid)


def ramp(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> np.ndarray:
    """A plane in millimetres measured from the centre of the field of view: 10 x + 20 y - 30 z."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return 10 * x + 20 * y - 30 * z


def test_matching_grid_is_copied_bit_for_bit() -> None:
    voxels = np.random.default_rng(0).uniform(-1000, 1000, (28, 28, 28)).astype(np.float32)
    spacing = (64 / 28,) * 3
    out = prepare(make_volume(voxels, spacing), make_plan(size=(28, 28, 28), spacing=(2.286, 2.286, 2.286)))
    assert out.dtype == np.float32 and out.shape == (1, 28, 28, 28) and out.flags.c_contiguous
    np.testing.assert_array_equal(out[0], voxels * np.float32(1e-3))


@pytest.mark.parametrize("target", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (0.5, 0.7, 1.5), (3.1, 2.0, 0.9)])
def test_linear_ramp_is_exact_in_the_interior(target: tuple[float, float, float]) -> None:
    shape, spacing = (48, 40, 36), (1.0, 1.0, 1.5)
    size = (6, 6, 6)
    out = prepare(make_volume(ramp(shape, spacing), spacing), make_plan(size=size, spacing=target))
    expected = ramp(size, target)
    # a kept axis is copied: an even difference in size centres exactly, here all are even
    np.testing.assert_allclose(out[0] * 1000, expected, atol=2e-2)


def test_even_and_odd_sizes_of_a_kept_axis_stay_unblurred() -> None:
    voxels = np.arange(7 * 4 * 5, dtype=np.float32).reshape(7, 4, 5)
    out = prepare(make_volume(voxels), make_plan(size=(4, 4, 4)))[0] * 1000
    np.testing.assert_allclose(out, voxels[1:5, :, 0:4], atol=1e-3)


@pytest.mark.parametrize(("value", "kept"), [(1000, 1.0), (0, 0.0), (1, 1049 / 2**20), (-333, -682 / 2**11)])
def test_voxels_in_half_are_the_nearest_of_eleven_bits(value: float, kept: float) -> None:
    """0.001 lies between 2**-10 and 2**-9, where neighbours are 2**-20 apart; 0.333 between 2**-2 and 2**-1."""
    half = prepare(make_volume(np.full((8, 8, 8), value)), make_plan(voxels="float16"))
    assert half.dtype == np.float32 and np.unique(half).tolist() == [kept]


@pytest.mark.parametrize("intensity", [WIDE, ZScore()])
def test_half_moves_no_voxel_by_more_than_one_in_2048(intensity: Window | ZScore) -> None:
    voxels = np.random.default_rng(0).exponential(200, (12, 12, 12))  # a long tail, as in MR
    full, half = (
        prepare(make_volume(voxels), make_plan(intensity=intensity, voxels=kind)) for kind in ("float32", "float16")
    )
    assert np.abs(half - full).max() > 0
    assert (np.abs(half - full) <= np.abs(full) * 2.0**-11 + 2.0**-25).all()


def test_padding_to_size_holds_the_floor() -> None:
    out = prepare(make_volume(np.full((3, 4, 5), 500.0)), make_plan(size=(6, 6, 6)))[0]
    assert (out == 0.5).sum() == 60
    assert (out[2:5, 1:5, 1:6] == 0.5).all()
    assert set(np.unique(out)) == {-1.0, 0.5}


def test_resampled_scan_smaller_than_size_is_padded_outside_its_field_of_view() -> None:
    out = prepare(make_volume(np.full((4, 4, 4), 500.0), (2.0, 2.0, 2.0)), make_plan(size=(16, 16, 16)))[0]
    np.testing.assert_array_equal(out[4:12, 4:12, 4:12], np.float32(0.5))
    assert (out == 0.5).sum() == 8**3 and (out == -1).sum() == 16**3 - 8**3


def test_downsampling_is_antialiased() -> None:
    """A pattern above the new Nyquist frequency must vanish, not alias to full contrast."""
    stripes = np.where(np.arange(32) % 2, 1000.0, -1000.0)[:, None, None] * np.ones((32, 8, 8))
    out = prepare(make_volume(stripes), make_plan(spacing=(3.0, 1.0, 1.0), size=(8, 8, 8)))
    assert np.abs(out[0, 1:-1]).max() < 0.05


def test_reorders_to_ras() -> None:
    """LPS-stored voxels (as DICOM axial slices lie) come out right, anterior, superior."""
    voxels = np.zeros((4, 5, 6))
    voxels[0, 0, 0] = 1000.0
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    out = prepare(make_volume(voxels, affine=affine), make_plan(size=(4, 5, 6)))
    assert np.argwhere(out[0] == 1.0).tolist() == [[3, 4, 0]]


def test_sagittal_storage_gives_the_same_input_as_axial() -> None:
    rng = np.random.default_rng(1)
    axial = rng.uniform(-900, 900, (6, 7, 8)).astype(np.float32)
    stored = np.transpose(axial, (1, 2, 0))  # i: A, j: S, k: R
    affine = np.zeros((4, 4))
    affine[1, 0] = affine[2, 1] = affine[0, 2] = affine[3, 3] = 1.0
    plan = make_plan(size=(6, 7, 8))
    np.testing.assert_array_equal(prepare(make_volume(stored, affine=affine), plan), prepare(make_volume(axial), plan))


def test_window_closed_form() -> None:
    values = np.array([-2000.0, -200.0, 0.0, 100.0, 400.0, 9000.0])
    out = prepare(
        make_volume(np.tile(values[:, None, None], (1, 3, 3))),
        make_plan(size=(6, 3, 3), intensity=Window(low=-200.0, high=400.0)),
    )
    np.testing.assert_allclose(out[0, :, 0, 0], [-1, -1, -1 / 3, 0, 1, 1], atol=1e-6)


def test_zscore_has_zero_mean_and_unit_spread_and_ignores_padding() -> None:
    rng = np.random.default_rng(2)
    voxels = rng.normal(700.0, 40.0, (12, 12, 12)).astype(np.float32)
    valid = np.ones(voxels.shape, bool)
    valid[:4] = False
    spoiled = voxels.copy()
    spoiled[:4] = -32768.0
    plan = make_plan(modality="MR", size=(12, 12, 12), intensity=ZScore())
    out = prepare(make_volume(spoiled, modality="MR", valid=valid), plan)[0]
    kept = out[4:]
    assert abs(kept.mean(dtype=np.float64)) < 1e-5 and abs(kept.std(dtype=np.float64) - 1) < 1e-5
    assert (out[:4] == kept.min()).all()
    low, high = np.percentile(voxels[4:], [0.5, 99.5])
    clipped = np.clip(voxels[4:].astype(np.float64), low, high)
    np.testing.assert_allclose(kept, (clipped - clipped.mean()) / clipped.std(), atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(gain=st.floats(0.01, 100), offset=st.floats(-500, 500))
def test_zscore_does_not_depend_on_the_scanners_scale(gain: float, offset: float) -> None:
    voxels = np.random.default_rng(3).normal(size=(6, 6, 6))
    plan = make_plan(modality="MR", size=(6, 6, 6), intensity=ZScore())
    reference = prepare(make_volume(voxels, modality="MR"), plan)
    scaled = prepare(make_volume(voxels * gain + offset, modality="MR"), plan)
    np.testing.assert_allclose(scaled, reference, atol=5e-2 if gain < 0.1 else 5e-3)


def test_padding_does_not_bleed_into_resampled_neighbours() -> None:
    voxels = np.full((16, 8, 8), 100.0)
    valid = np.ones(voxels.shape, bool)
    valid[:8] = False
    spoiled = voxels.copy()
    spoiled[:8] = 1e6
    plan = make_plan(spacing=(2.0, 1.0, 1.0), size=(8, 8, 8))
    out = prepare(make_volume(spoiled, valid=valid), plan)[0]
    assert out.max() <= np.float32(0.1) + 1e-6


def test_fit_keeps_proportions_and_uses_the_whole_field_of_view() -> None:
    picture = np.full((40, 20, 1), 255.0)
    plan = make_plan(
        modality="US", unit=Unit.PIXEL, ndim=2, spacing=None, size=(20, 20), fit=True, intensity=Window(low=0, high=255)
    )
    out = prepare(make_volume(picture, modality="US", unit=Unit.PIXEL), plan)
    assert out.shape == (1, 20, 20)
    assert (out[0, :, 5:15] == 1).all() and (out[0, :, :5] == -1).all() and (out[0, :, 15:] == -1).all()


def test_picture_at_its_own_size_keeps_rows_columns_and_channels() -> None:
    picture = np.random.default_rng(4).integers(0, 256, (3, 28, 28, 1)).astype(np.float32)
    plan = make_plan(
        modality="OP",
        unit=Unit.PIXEL,
        ndim=2,
        channels=3,
        spacing=None,
        size=(28, 28),
        fit=True,
        intensity=Window(low=0, high=255),
    )
    out = prepare(make_volume(picture, modality="OP", unit=Unit.PIXEL), plan)
    np.testing.assert_allclose(out, picture[..., 0] / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("volume", "changes", "code"),
    [
        (make_volume(np.ones((4, 4, 4)), modality="MR"), {}, "DOES_NOT_FIT"),
        (make_volume(np.ones((4, 4, 4)), modality=""), {}, "DOES_NOT_FIT"),
        (make_volume(np.ones((3, 4, 4, 4))), {}, "DOES_NOT_FIT"),
        (make_volume(np.ones((4, 4, 4))), {"ndim": 2, "spacing": None, "size": (4, 4)}, "DOES_NOT_FIT"),
        (make_volume(np.ones((4, 4, 2))), {}, "TOO_FEW_SLICES"),
        (make_volume(np.ones((4, 4, 1))), {}, "TOO_FEW_SLICES"),
        (make_volume(np.ones((4, 4, 4)), unit=Unit.PIXEL), {}, "NO_SPACING"),
        (
            make_volume(np.ones((4, 4, 1)), unit=Unit.PIXEL),
            {"ndim": 2, "spacing": (1, 1), "size": (4, 4)},
            "NO_SPACING",
        ),
        (make_volume(np.ones((4, 4, 4))), {"intensity": ZScore()}, "CONSTANT"),
        (make_volume(np.ones((4, 4, 4)), valid=np.zeros((4, 4, 4), bool)), {}, "CONSTANT"),
        (make_volume(np.full((8, 8, 8), np.nan)), {}, "NOT_FINITE"),
        (make_volume(np.ones((4, 4, 3)), (1, 1, 0.4)), {"spacing": (1, 1, 5)}, "DOES_NOT_FIT"),
    ],
)
def test_refuses_what_does_not_fit(volume: Volume, changes: dict[str, object], code: str) -> None:
    with pytest.raises(RejectedInput) as caught:
        prepare(volume, make_plan(**changes))
    assert caught.value.code == code and caught.value.stage == "prepare"


def test_input_is_left_alone_and_the_result_repeats() -> None:
    voxels = np.random.default_rng(5).uniform(-2000, 2000, (20, 18, 9)).astype(np.float32)
    valid = voxels[:] > -1500
    volume = make_volume(voxels.copy(), (0.7, 0.7, 3.0), valid=valid)
    plan = make_plan(spacing=(1.3, 1.3, 3.0))
    first = prepare(volume, plan)
    np.testing.assert_array_equal(first, prepare(volume, plan))
    np.testing.assert_array_equal(volume.voxels[0], voxels)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(3, 20)] * 3),
    spacing=st.tuples(*[st.floats(0.4, 5.0)] * 3),
    size=st.tuples(*[st.integers(1, 16)] * 3),
)
def test_any_grid_gives_the_planned_shape_within_range(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], size: tuple[int, int, int]
) -> None:
    voxels = np.random.default_rng(6).uniform(-3000, 3000, shape)
    assume(all(n * s > 1.5 for n, s in zip(shape, spacing, strict=True)))
    out = prepare(make_volume(voxels, spacing), make_plan(size=size, spacing=(1.5, 1.5, 1.5)))
    assert out.shape == (1, *size)
    assert out.min() >= -1 - 1e-6 and out.max() <= 1 + 1e-6


def test_reading_only_the_reached_part_changes_nothing() -> None:
    """A crop out of a large scan equals the same region of a wide preparation."""
    voxels = np.random.default_rng(7).uniform(-1000, 1000, (60, 60, 60))
    volume = make_volume(voxels)
    small = prepare(volume, make_plan(spacing=(2.0, 2.0, 2.0), size=(6, 6, 6)))
    large = prepare(volume, make_plan(spacing=(2.0, 2.0, 2.0), size=(30, 30, 30)))
    np.testing.assert_allclose(small, large[:, 12:18, 12:18, 12:18], atol=1e-6)


@pytest.mark.parametrize(("planned", "given"), [(True, False), (False, True)])
def test_pet_in_another_unit_than_the_plan_is_for_is_refused(planned: bool, given: bool) -> None:
    """A window in g/ml over Bq/ml would be white all over, and look like a finding."""
    volume = make_volume(ramp((8, 8, 8), (1, 1, 1)), modality="PT")
    told = dataclasses.replace(volume, notes=("SUV: values are g/ml by body weight, made from BQML",))
    plan = make_plan(modality="PT", suv=planned)
    assert prepare(told if planned else volume, plan).shape == (1, 8, 8, 8)
    with pytest.raises(RejectedInput, match=r"read\.suv") as caught:
        prepare(told if given else volume, plan)
    assert caught.value.code == "DOES_NOT_FIT"
