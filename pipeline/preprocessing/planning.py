"""Decide how scans become inputs, from the fingerprint, each decision with its reason in words."""

import math
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError

from pipeline.config import AsText, Settings
from pipeline.domain.fingerprint import Fingerprint, Intensities, Spread
from pipeline.domain.frozen import digest
from pipeline.domain.geometry import Unit
from pipeline.domain.plan import Decision, Intensity, Plan, VoxelType, Window, ZScore
from pipeline.domain.selection import Selection
from pipeline.domain.series import PICTURE, PROJECTION
from pipeline.errors import PlanError
from pipeline.machine import memory_limit
from pipeline.preprocessing.resources import MemoryOf, assumed_memory, choose_batch_size, choose_depth
from pipeline.preprocessing.sizing import (
    MAX_VOXELS,
    choose_grid,
    picture_size,
    size_for,
    spacing_for,
    whole_field_of_view,
)
from pipeline.preprocessing.strengths import choose_strengths

HOUNSFIELD = (-1024.0, 3071.0)
"""Range of 12-bit CT. Values beyond it are metal or padding."""

EIGHT_BIT = 255.0

WORTH_HALVING = 2**19
"""Bytes of a case in float32 from which training waits for memory rather than for the call that fetches a case."""


class PlanSettings(Settings):
    """Overrides of the plan. Every field is optional: what is not given is decided from the training split."""

    ndim: Literal[2, 3] | None = Field(
        default=None, description="2 for single images, 3 for volumes. Only checked: the scans decide."
    )
    spacing: tuple[PositiveFloat, ...] | None = Field(
        default=None, description="Voxel spacing in millimetres per axis (R, A, S; 2D: columns, rows)."
    )
    size: tuple[PositiveInt, ...] | None = Field(default=None, description="Input size in voxels per axis.")
    fit: bool | None = Field(
        default=None,
        description="true: the whole field of view is scaled into the size. false: fixed spacing, centre crop or pad.",
    )
    intensity: Intensity | None = Field(
        default=None,
        description="{kind: window, low: -160, high: 240} or {kind: zscore, lower_percentile: 0.5, "
        "upper_percentile: 99.5}.",
    )
    max_voxels: PositiveInt | None = Field(
        default=None,
        description="Voxel budget of one input. Default 256 x 256 in 2D and 64 x 64 x 64 in 3D, which a few processor "
        "cores can train; with a GPU 128 x 128 x 128 = 2097152 is usual.",
    )
    depth: PositiveInt | None = Field(default=None, description="Layers of the residual network: 10, 18, 34, 50, ...")
    batch_size: PositiveInt | None = Field(default=None, description="Cases a training step.")
    memory_bytes: PositiveInt | None = Field(
        default=None, description="Memory that training may use. Default: the container's limit, else the machine's."
    )
    voxels: VoxelType | None = Field(
        default=None,
        description="What prepared voxels are rounded to, in training and prediction. float16 (1 in 2048 of a voxel's "
        "normalised value) halves the prepared cache and is read faster; it is the default where a case is large.",
    )
    precision: Annotated[Literal["auto", "bf16-mixed", "16-mixed", "32"] | None, AsText] = Field(
        default=None,
        description="Arithmetic of training. auto proves a precision on the real model first, and keeps faulty layers "
        "in float32. On a processor a given half precision is proven too: one that crashes or gives what is not finite "
        "stops the run before it begins. Processors train in bf16-mixed where 16-mixed is given.",
    )


def make_plan(
    fingerprint: Fingerprint,
    settings: PlanSettings,
    select: Selection | None = None,
    memory_of: MemoryOf | None = None,
) -> Plan:
    """Decide everything that the settings leave open; `select`, by which the series were chosen, goes along.

    Parameters
    ----------
    memory_of : callable, optional
        Counts the memory of the network that is to be trained, for the batch size; without it one is assumed.

    Raises
    ------
    PlanError
        Overrides contradict each other or the scans; or the scans show no contrast.
    """
    _check_overrides(fingerprint, settings)
    fit, fit_decision = _fit(fingerprint, settings)
    spacing, size, grid_decisions = _grid(fingerprint, settings, fit)
    intensity, intensity_decision = _intensity(fingerprint, settings)
    voxels, voxels_decision = _voxels(fingerprint, settings, size)
    depth, batch_size, precision, cost_decisions = _cost(fingerprint, settings, spacing, size, memory_of)
    mask = _two_valued(fingerprint.intensities)
    augmentation, strength_decisions = choose_strengths(fingerprint, size, fit=fit, mask=mask)
    try:
        return Plan(
            fingerprint=digest(fingerprint),
            modality=fingerprint.modality,
            unit=fingerprint.unit,
            ndim=3 if fingerprint.ndim == 3 else 2,
            channels=fingerprint.channels,
            spacing=spacing,
            size=size,
            fit=fit,
            intensity=intensity,
            depth=depth,
            batch_size=batch_size,
            precision=precision,
            select=select,
            suv=fingerprint.suv,
            augmentation=augmentation,
            voxels=voxels,
            decisions=(
                *_given(fingerprint, settings),
                fit_decision,
                *grid_decisions,
                intensity_decision,
                voxels_decision,
                *cost_decisions,
                *strength_decisions,
            ),
        )
    except ValidationError as error:
        problems = "; ".join(problem["msg"] for problem in error.errors())
        raise PlanError(f"The plan contradicts itself: {problems}.", "Change or remove the overrides.") from error


def _check_overrides(fingerprint: Fingerprint, settings: PlanSettings) -> None:
    """Refuse overrides that no scan of this split, or no other override, can go with."""
    problems: list[str] = []
    measured = f"{fingerprint.ndim}D"
    if settings.ndim is not None and settings.ndim != fingerprint.ndim:
        problems.append(f"ndim {settings.ndim}: the {fingerprint.cases} scans are {measured}")
    for name, value in (("spacing", settings.spacing), ("size", settings.size)):
        if value is not None and len(value) != fingerprint.ndim:
            problems.append(f"{name} {list(value)}: has {len(value)} values, the scans are {measured}")
    if settings.spacing is not None and fingerprint.unit is Unit.PIXEL:
        problems.append("spacing: pictures without a scale have no spacing in millimetres")
    if settings.spacing is not None and settings.fit:
        problems.append("spacing and fit: fit scales each field of view into the size, so no spacing can be kept")
    if settings.size is not None and settings.max_voxels is not None and math.prod(settings.size) > settings.max_voxels:
        problems.append(f"size {list(settings.size)}: is more than max_voxels {settings.max_voxels}")
    if problems:
        raise PlanError("Overrides of the plan contradict: " + "; ".join(problems) + ".", "Change or remove them.")


def _given(fingerprint: Fingerprint, settings: PlanSettings) -> tuple[Decision, ...]:
    """Record what the scans leave no choice about."""
    cases = f"all {fingerprint.cases} cases of the {fingerprint.split.value} split"
    slices = fingerprint.shape[2]
    depth = "hold a single image" if fingerprint.ndim == 2 else f"have {slices.minimum:.0f} slices or more along z"
    return (
        Decision(name="modality", value=fingerprint.modality, reason=f"{cases} are {fingerprint.modality}"),
        Decision(
            name="ndim", value=str(fingerprint.ndim), reason=f"{cases} {depth}", overridden=settings.ndim is not None
        ),
        Decision(name="channels", value=str(fingerprint.channels), reason=f"measured on {cases}"),
    )


def _fit(fingerprint: Fingerprint, settings: PlanSettings) -> tuple[bool, Decision]:
    if settings.fit is not None or settings.spacing is not None:
        chosen = bool(settings.fit)
        reason = "given" if settings.fit is not None else "a spacing is given, so scans are cropped or padded"
        return chosen, Decision(name="fit", value=_yes(chosen), reason=reason, overridden=settings.fit is not None)
    chosen = whole_field_of_view(fingerprint)
    if chosen:
        reason = f"{fingerprint.modality} single images in {fingerprint.unit.value}: the field of view is the object"
    else:
        reason = f"{fingerprint.modality} in {fingerprint.unit.value}: the scale is known and kept, so sizes compare"
    return chosen, Decision(name="fit", value=_yes(chosen), reason=reason)


def _yes(value: bool) -> str:
    return "true" if value else "false"


def _grid(
    fingerprint: Fingerprint, settings: PlanSettings, fit: bool
) -> tuple[tuple[float, ...] | None, tuple[int, ...], tuple[Decision, Decision]]:
    """Spacing and size with their reasons."""
    budget = settings.max_voxels or MAX_VOXELS[fingerprint.ndim]
    rule = f"budget {budget} voxels" + (
        "" if settings.max_voxels else " (default for a CPU; raise max_voxels on a GPU)"
    )
    if fit or fingerprint.unit is Unit.PIXEL:
        size = settings.size or picture_size(fingerprint, budget)
        why = "each field of view is scaled into the size" if fit else "pictures keep their own pixels"
        decision = Decision(name="spacing", value="each scan's own", reason=why)
        return None, size, (decision, _size_decision(fingerprint, settings, size, f"median shape, {rule}"))
    if settings.spacing is not None:
        spacing, why = settings.spacing, "given"
        size = settings.size or size_for(fingerprint, spacing)
        if settings.size is None and math.prod(size) > budget:
            raise PlanError(
                f"Spacing {_list(spacing)} needs {_list(size)} = {math.prod(size)} voxels to cover p90 of the extent, "
                f"above the budget of {budget}.",
                "Give a size to crop to, raise max_voxels, or take a coarser spacing.",
            )
    elif settings.size is not None:
        size, spacing = settings.size, spacing_for(fingerprint, settings.size)
        why = f"median {_medians(fingerprint)} mm, coarser where the given size would not cover p90 of the extent"
    else:
        spacing, size = choose_grid(fingerprint, budget)
        why = f"median of the training split {_medians(fingerprint)} mm"
        if any(s > axis.median for s, axis in zip(spacing, fingerprint.spacing, strict=False)):
            why += f", finest axes coarsened first to fit the {rule}"
    decision = Decision(
        name="spacing", value=f"{_list(spacing)} mm", reason=why, overridden=settings.spacing is not None
    )
    return spacing, size, (decision, _size_decision(fingerprint, settings, size, f"covers p90 of the extent, {rule}"))


def _size_decision(fingerprint: Fingerprint, settings: PlanSettings, size: tuple[int, ...], why: str) -> Decision:
    extents = " x ".join(f"{axis.p90:.4g}" for axis in fingerprint.extent[: fingerprint.ndim])
    shapes = " x ".join(_range(axis) for axis in fingerprint.shape[: fingerprint.ndim])
    reason = f"{why}; p90 extent {extents} {fingerprint.unit.value}, shapes {shapes}"
    if settings.size is not None:
        reason = f"given; p90 extent {extents} {fingerprint.unit.value}, shapes {shapes}"
    return Decision(name="size", value=_list(size), reason=reason, overridden=settings.size is not None)


def _range(axis: Spread) -> str:
    return f"{axis.minimum:.0f}" if axis.minimum == axis.maximum else f"{axis.minimum:.0f}..{axis.maximum:.0f}"


def _medians(fingerprint: Fingerprint) -> str:
    return _list(axis.median for axis in fingerprint.spacing[: fingerprint.ndim])


def _list(values: object) -> str:
    assert hasattr(values, "__iter__")
    return " x ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)


def _intensity(fingerprint: Fingerprint, settings: PlanSettings) -> tuple[Intensity, Decision]:
    found = fingerprint.intensities
    if settings.intensity is not None:
        chosen, reason = settings.intensity, f"given; measured {_measured(found)}"
    elif not found.minimum < found.maximum:
        raise PlanError(f"Every training voxel has the value {found.minimum:g}.", "Check the scans or the masks.")
    else:
        chosen, reason = _choose_intensity(fingerprint)
    text = (
        f"window {chosen.low:g}..{chosen.high:g}"
        if isinstance(chosen, Window)
        else (f"z-score within percentiles {chosen.lower_percentile:g}..{chosen.upper_percentile:g}")
    )
    return chosen, Decision(name="intensity", value=text, reason=reason, overridden=settings.intensity is not None)


def _voxels(fingerprint: Fingerprint, settings: PlanSettings, size: tuple[int, ...]) -> tuple[VoxelType, Decision]:
    in_full = 4 * fingerprint.channels * math.prod(size)
    case = f"a case of {in_full / 2**20:.3g} MiB in float32"
    chosen: VoxelType = "float16" if in_full >= WORTH_HALVING else "float32"
    reason = (
        f"{case} is read faster in half of it"
        if chosen == "float16"
        else f"{case} is too small to be read faster in half"
    )
    if settings.voxels is not None:
        chosen, reason = settings.voxels, f"given; {case}"
    return chosen, Decision(name="voxels", value=chosen, reason=reason, overridden=settings.voxels is not None)


def _choose_intensity(fingerprint: Fingerprint) -> tuple[Intensity, str]:
    found, modality = fingerprint.intensities, fingerprint.modality
    measured = _measured(found)
    if _two_valued(found):
        window = Window(low=found.minimum, high=found.maximum)
        return window, f"voxels take two values, {found.minimum:g} and {found.maximum:g}: a mask"
    if fingerprint.unit is Unit.PIXEL or modality in PICTURE:
        if found.minimum >= 0 and found.maximum <= EIGHT_BIT:
            return Window(low=0.0, high=EIGHT_BIT), f"8-bit picture; measured {measured}"
        return Window(low=found.minimum, high=found.maximum), f"picture of more than 8 bits: the range; {measured}"
    if modality == "CT":
        low, high = (min(max(v, HOUNSFIELD[0]), HOUNSFIELD[1]) for v in (found.p00_5, found.p99_5))
        if high - low >= 1.0:
            low, high = math.floor(low), math.ceil(high)
        if low < high:
            return Window(low=low, high=high), f"CT: p0.5 to p99.5 of voxels above air, within 12 bits; {measured}"
        return Window(low=found.minimum, high=found.maximum), f"CT with little contrast: the range; {measured}"
    why = "a detector has no unit" if modality in PROJECTION else "has no unit that holds across scanners"
    return ZScore(), f"{modality} {why}: each scan by its own mean and deviation; pooled {measured}"


def _measured(found: Intensities) -> str:
    return (
        f"p0.5 {found.p00_5:.4g}, median {found.median:.4g}, p99.5 {found.p99_5:.4g}, "
        f"range {found.minimum:.4g}..{found.maximum:.4g}"
    )


def _two_valued(found: Intensities) -> bool:
    """Only a two-valued variable reaches the largest variance that its range and mean allow (Bhatia, Davis 2000)."""
    largest = (found.maximum - found.mean) * (found.mean - found.minimum)
    return largest > 0 and math.isclose(found.std**2, largest, rel_tol=1e-6)


def _cost(
    fingerprint: Fingerprint,
    settings: PlanSettings,
    spacing: tuple[float, ...] | None,
    size: tuple[int, ...],
    memory_of: MemoryOf | None,
) -> tuple[int, int, str, tuple[Decision, ...]]:
    """Depth, batch size and precision with their reasons."""
    depth, depth_reason = choose_depth(fingerprint.cases, size)
    limit = settings.memory_bytes or memory_limit()
    memory = assumed_memory(size)
    if memory_of is not None:
        memory = memory_of(settings.depth or depth, size, spacing, fingerprint.channels)
    batch = choose_batch_size(fingerprint.cases, size, limit, memory)
    batch_reason = (
        f"{fingerprint.cases} cases of {math.prod(size)} voxels, memory limit {limit / 2**30:.1f} GiB, "
        f"{memory.of_case / 2**20:.1f} MiB a case ({memory.network})"
    )
    precision_reason = "a precision is proven on the real model and a real batch before it is trusted"
    values = (settings.depth or depth, settings.batch_size or batch, settings.precision or "auto")
    decisions = tuple(
        Decision(name=name, value=str(value), reason="given" if given else reason, overridden=given)
        for name, value, reason, given in (
            ("depth", values[0], depth_reason, settings.depth is not None),
            ("batch_size", values[1], batch_reason, settings.batch_size is not None),
            ("precision", values[2], precision_reason, settings.precision is not None),
        )
    )
    return *values, decisions
