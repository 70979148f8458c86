"""Decisions follow from the measurements by stated rules, carry their numbers, and refuse contradictions."""

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.domain.fingerprint import Fingerprint, Intensities, Spread
from pipeline.domain.geometry import Unit
from pipeline.domain.plan import Plan, Window, ZScore
from pipeline.errors import ConfigError, PlanError
from pipeline.preprocessing.planning import PlanSettings, make_plan
from pipeline.preprocessing.resources import NetworkMemory

GIB = 2**30


def spread(*values: float) -> Spread:
    low, middle, high = (values[0], values[len(values) // 2], values[-1])
    return Spread(minimum=low, p10=low, median=middle, p90=high, maximum=high)


def make_fingerprint(
    shape: tuple[tuple[float, ...], ...] = ((28,), (28,), (28,)),
    spacing: tuple[float, float, float] = (64 / 28, 64 / 28, 64 / 28),
    **changes: object,
) -> Fingerprint:
    extents = [tuple(n * s for n in axis) for axis, s in zip(shape, spacing, strict=True)]
    base: dict[str, object] = {
        "manifest": "m",
        "cases": 1188,
        "patients": 1188,
        "modality": "CT",
        "unit": Unit.MM,
        "ndim": 3,
        "channels": 1,
        "shape": tuple(spread(*axis) for axis in shape),
        "spacing": tuple(spread(s) for s in spacing),
        "extent": tuple(spread(*axis) for axis in extents),
        "intensities": intensities(-800, 1200),
        "labels": {},
    }
    return Fingerprint.model_validate(base | changes)


def intensities(low: float, high: float, **changes: float) -> Intensities:
    base = {"mean": (low + high) / 2, "std": (high - low) / 5, "median": (low + high) / 2}
    base |= {"p00_5": low + 0.01 * (high - low), "p99_5": high - 0.01 * (high - low), "minimum": low, "maximum": high}
    return Intensities.model_validate(base | changes)


def plan_of(fingerprint: Fingerprint, **overrides: object) -> Plan:
    return make_plan(fingerprint, PlanSettings.from_mapping({"memory_bytes": 16 * GIB} | overrides))


def reason(plan: Plan, name: str) -> str:
    return next(decision.reason for decision in plan.decisions if decision.name == name)


def picture(side: float = 28, **changes: object) -> Fingerprint:
    base = {"modality": "US", "unit": Unit.PIXEL, "ndim": 2, "intensities": intensities(0, 255)}
    return make_fingerprint(((side,), (side,), (1,)), (1.0, 1.0, 1.0), **(base | changes))


def test_scans_of_one_small_shape_are_kept_exactly() -> None:
    plan = plan_of(make_fingerprint())
    assert plan.size == (28, 28, 28) and plan.spacing == pytest.approx((64 / 28,) * 3) and not plan.fit
    assert plan.depth == 18 and plan.batch_size == 32 and plan.precision == "auto"


def test_odd_sizes_of_one_shape_are_not_rounded() -> None:
    assert plan_of(make_fingerprint(((35,), (51,), (35,)), (1.0, 1.0, 1.0))).size == (35, 51, 35)


def test_varying_shapes_cover_p90_in_multiples_of_four() -> None:
    plan = plan_of(make_fingerprint(((30, 34, 38), (40, 50, 57), (20, 24, 28)), (1.0, 1.0, 1.0)))
    assert plan.size == (40, 60, 28) and plan.spacing == (1.0, 1.0, 1.0)


def test_budget_coarsens_the_finest_axes_first() -> None:
    """A 512 x 512 x 60 CT at 0.75 x 0.75 x 5 mm: the slice direction keeps its 5 mm until the others reach it."""
    fine = make_fingerprint(((512,), (512,), (60,)), (0.75, 0.75, 5.0))
    plan = plan_of(fine, max_voxels=128 * 128 * 60)
    assert plan.spacing is not None
    assert plan.spacing[2] == 5.0 and plan.spacing[0] == plan.spacing[1] == pytest.approx(3.0, abs=0.01)
    assert plan.size == (128, 128, 60)
    default = plan_of(fine)
    assert default.spacing is not None and len(set(default.spacing)) == 1 and math.prod(default.size) <= 64**3
    assert "max_voxels" in reason(default, "spacing") and "0.75 x 0.75 x 5" in reason(default, "spacing")


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(8, 600)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 8.0)] * 3),
    budget=st.integers(1000, 10**6),
)
@example(shape=(13, 13, 8), spacing=(4.0, 4.0, 1.0), budget=1000)
def test_any_scan_fits_the_budget_and_loses_no_more_than_rounding(
    shape: tuple[int, int, int], spacing: tuple[float, float, float], budget: int
) -> None:
    fingerprint = make_fingerprint(tuple((n,) for n in shape), spacing)
    plan = plan_of(fingerprint, max_voxels=budget)
    assert plan.spacing is not None
    assert math.prod(plan.size) <= budget
    for n, s, extent, own in zip(plan.size, plan.spacing, fingerprint.extent, spacing, strict=True):
        assert n * s >= extent.p90 * (1 - 2e-3)
        assert s >= own * (1 - 1e-9)


def test_pictures_use_their_whole_field_of_view_at_eight_bit() -> None:
    plan = plan_of(picture())
    assert plan.fit and plan.spacing is None and plan.size == (28, 28) and plan.ndim == 2
    assert plan.intensity == Window(low=0, high=255)
    assert plan_of(picture(2048)).size == (256, 256)
    deep = picture(intensities=intensities(3, 60_000))
    assert plan_of(deep).intensity == Window(low=3, high=60_000)


def test_projection_images_fit_and_normalise_by_themselves() -> None:
    film = picture(1024, modality="MG", unit=Unit.MM, intensities=intensities(0, 4095))
    plan = plan_of(film, max_voxels=512 * 512)
    assert plan.fit and plan.size == (512, 512) and plan.intensity == ZScore()


def test_single_slices_at_a_known_scale_keep_it() -> None:
    plan = plan_of(make_fingerprint(((100, 110, 120), (90, 100, 110), (1,)), (1.0, 1.0, 5.0), ndim=2, modality="MR"))
    assert not plan.fit and plan.spacing == (1.0, 1.0) and plan.size == (120, 112)


def test_ct_window_comes_from_the_percentiles_within_twelve_bits() -> None:
    wild = intensities(-3000, 30_000, p00_5=-1500.0, p99_5=1211.3)
    assert plan_of(make_fingerprint(intensities=wild)).intensity == Window(low=-1024, high=1212)


@pytest.mark.parametrize("high", [1.0, 255.0])
def test_masks_are_recognised_by_their_variance(high: float) -> None:
    share = 0.04
    mask = Intensities(
        mean=share * high,
        std=high * math.sqrt(share * (1 - share)),
        p00_5=0,
        median=0,
        p99_5=high,
        minimum=0,
        maximum=high,
    )
    plan = plan_of(make_fingerprint(intensities=mask))
    assert plan.intensity == Window(low=0, high=high) and "mask" in reason(plan, "intensity")


def test_mr_is_normalised_scan_by_scan() -> None:
    plan = plan_of(make_fingerprint(modality="MR", intensities=intensities(0, 900)))
    assert plan.intensity == ZScore() and "900" in reason(plan, "intensity")


def test_no_contrast_is_refused() -> None:
    flat = Intensities(mean=3, std=0, p00_5=3, median=3, p99_5=3, minimum=3, maximum=3)
    with pytest.raises(PlanError, match="value 3"):
        plan_of(make_fingerprint(intensities=flat))


@pytest.mark.parametrize(("cases", "depth"), [(40, 10), (200, 10), (546, 18), (20_000, 34), (100_000, 50)])
def test_depth_grows_with_the_data(cases: int, depth: int) -> None:
    plan = plan_of(make_fingerprint(cases=cases))
    assert plan.depth == depth and str(cases) in reason(plan, "depth")


def test_batch_size_follows_the_network_where_one_is_named() -> None:
    asked: list[Any] = []

    def memory_of(*given: Any) -> NetworkMemory:
        asked.append(given)
        return NetworkMemory("a network", GIB // 4, 4 * GIB)

    chosen = PlanSettings.from_mapping({"memory_bytes": 16 * GIB, "depth": 34})
    plan = make_plan(make_fingerprint(), chosen, memory_of=memory_of)
    assert plan.batch_size == 16  # half of 16 GiB, less 4 that are fixed
    assert asked == [(34, (28, 28, 28), plan.spacing, 1)]
    assert "256.0 MiB a case (a network)" in reason(plan, "batch_size")
    assert "18 layers of width 64 assumed" in reason(plan_of(make_fingerprint()), "batch_size")


def test_batch_size_respects_memory_and_cases() -> None:
    assert plan_of(make_fingerprint(), memory_bytes=1 * GIB).batch_size == 4
    assert plan_of(make_fingerprint(), memory_bytes=1000).batch_size == 1
    assert plan_of(make_fingerprint(cases=70)).batch_size == 8
    assert plan_of(make_fingerprint(cases=5)).batch_size == 4


def test_overrides_win_and_are_recorded_as_such() -> None:
    plan = plan_of(
        make_fingerprint(),
        spacing=[4, 4, 4],
        size=[20, 20, 16],
        intensity={"kind": "zscore"},
        depth=34,
        batch_size=3,
        precision="32",
        fit=False,
    )
    assert (plan.spacing, plan.size, plan.depth, plan.batch_size) == ((4, 4, 4), (20, 20, 16), 34, 3)
    assert plan.intensity == ZScore() and plan.precision == "32"
    overridden = {decision.name for decision in plan.decisions if decision.overridden}
    assert overridden == {"spacing", "size", "intensity", "depth", "batch_size", "precision", "fit"}
    assert not any(decision.overridden for decision in plan_of(make_fingerprint()).decisions)


def test_a_given_size_sets_the_spacing_that_covers_the_extent() -> None:
    plan = plan_of(make_fingerprint(((128,), (64,), (40,)), (1.0, 1.0, 1.0)), size=[64, 64, 64])
    assert plan.spacing == (2.0, 1.0, 1.0)


def test_a_given_spacing_sets_the_size() -> None:
    assert plan_of(make_fingerprint(((128,), (64,), (40,)), (1.0, 1.0, 1.0)), spacing=[2, 2, 2]).size == (64, 32, 20)


@pytest.mark.parametrize(
    "overrides",
    [
        {"ndim": 2},
        {"spacing": [1, 1]},
        {"size": [8, 8]},
        {"spacing": [1, 1, 1], "fit": True},
        {"size": [64, 64, 64], "max_voxels": 1000},
        {"spacing": [0.1, 0.1, 0.1]},
    ],
)
def test_contradictions_are_refused_with_a_remedy(overrides: dict[str, object]) -> None:
    with pytest.raises(PlanError) as caught:
        plan_of(make_fingerprint(), **overrides)
    assert caught.value.remedy
    with pytest.raises(PlanError):
        plan_of(picture(), spacing=[1, 1])


def test_nonsense_is_refused_by_key() -> None:
    with pytest.raises(ConfigError, match="spacing"):
        PlanSettings.from_mapping({"spacing": [-1, 1, 1]})


def test_every_decision_has_a_reason_and_the_preparation_ignores_cost() -> None:
    plan = plan_of(make_fingerprint())
    names = [decision.name for decision in plan.decisions]
    assert names == [
        "modality", "ndim", "channels", "fit", "spacing", "size", "intensity", "voxels", "depth", "batch_size",
        "precision", "flips", "shift", "rotation", "scale", "contrast",
        "gamma", "bias_field", "low_resolution", "elastic", "blur", "cutout",
    ]  # fmt: skip
    assert all(decision.reason for decision in plan.decisions)
    assert plan_of(make_fingerprint(), depth=50, batch_size=1).preparation_digest == plan.preparation_digest
    assert plan_of(make_fingerprint(), size=[24, 28, 28]).preparation_digest != plan.preparation_digest


@pytest.mark.parametrize(
    ("side", "channels", "voxels"), [(28, 1, "float32"), (50, 1, "float32"), (51, 1, "float16"), (50, 2, "float16")]
)
def test_large_cases_are_kept_in_half(side: int, channels: int, voxels: str) -> None:
    """50 cubed in float32 are 488 KiB, 51 cubed 518."""
    plan = plan_of(make_fingerprint(channels=channels), size=[side] * 3)
    assert plan.voxels == voxels
    (decision,) = (one for one in plan.decisions if one.name == "voxels")
    assert decision.value == voxels and not decision.overridden


def test_voxels_can_be_given_and_a_plan_from_before_keeps_float32_and_its_digest() -> None:
    full, half = (plan_of(make_fingerprint(), voxels=voxels) for voxels in ("float32", "float16"))
    assert (full.voxels, half.voxels) == ("float32", "float16")
    assert set(half.model_dump(mode="json")) - set(full.model_dump(mode="json")) == {"voxels"}, "packages keep names"
    assert set(full.model_dump(mode="json")) == set(Plan.model_fields) - {"voxels"}
    assert Plan.model_validate(full.model_dump()) == full and Plan.model_validate(half.model_dump()) == half
    assert half.preparation_digest != full.preparation_digest
