"""Spacing and size of the network's input under a voxel budget."""

import math
from collections.abc import Sequence

from pipeline.domain.fingerprint import Fingerprint, Spread
from pipeline.domain.geometry import Unit
from pipeline.domain.series import PICTURE, PROJECTION

MAX_VOXELS = {2: 256 * 256, 3: 64 * 64 * 64}
"""Default budget: what trains on a few processor cores in minutes. On a GPU 512 x 512 and 128 x 128 x 128 are usual."""

STEP = 4
"""Sizes that have to be chosen are rounded up to a multiple of this, so that halvings in the network stay even."""

SAME_SIZE = 1e-3
"""Voxels by which a size may miss a whole number through the rounding of spacings in headers."""

Grid = tuple[tuple[float, ...], tuple[int, ...]]


def whole_field_of_view(fingerprint: Fingerprint) -> bool:
    """Whether the image as a whole is the object: a projection or a picture, not a slice at a known scale."""
    return fingerprint.ndim == 2 and (
        fingerprint.unit is Unit.PIXEL or fingerprint.modality in PROJECTION or fingerprint.modality in PICTURE
    )


def choose_grid(fingerprint: Fingerprint, budget: int) -> Grid:
    """Spacing and size for scans at a known scale.

    The spacing is the median of each axis. Where p90 of the extent would then need more voxels than the budget, the
    finest axes are coarsened first, to one common spacing, until it fits: anisotropic scans lose nothing along the
    coarse axis before the others have caught up with it.
    """
    medians = [axis.median for axis in _axes(fingerprint.spacing, fingerprint)]
    extents = [axis.p90 for axis in _axes(fingerprint.extent, fingerprint)]
    own = size_for(fingerprint, medians)
    if math.prod(own) <= budget:
        return tuple(medians), own
    low, high = min(medians), max(*medians, *extents)
    for _ in range(60):
        middle = (low + high) / 2
        fits = math.prod(_covering(extents, [max(m, middle) for m in medians])) <= budget
        low, high = (low, middle) if fits else (middle, high)
    floor = _round_up(high + 1e-6)  # beyond the last place that rounding could take back
    spacing = tuple(max(m, floor) for m in medians)
    return spacing, _covering(extents, spacing)


def size_for(fingerprint: Fingerprint, spacing: Sequence[float]) -> tuple[int, ...]:
    """Voxels that cover p90 of the extent: exactly, where all scans have one shape and keep it; else rounded up."""
    shapes = _axes(fingerprint.shape, fingerprint)
    extents = _axes(fingerprint.extent, fingerprint)
    needed = [extent.p90 / s for extent, s in zip(extents, spacing, strict=True)]
    common = [int(shape.median) for shape in shapes]
    if all(shape.minimum == shape.maximum for shape in shapes) and all(
        abs(n - c) <= max(SAME_SIZE * c, SAME_SIZE) for n, c in zip(needed, common, strict=True)
    ):
        return tuple(common)
    return _covering([extent.p90 for extent in extents], spacing)


def spacing_for(fingerprint: Fingerprint, size: Sequence[int]) -> tuple[float, ...]:
    """Per axis the median spacing, or coarser where the given size would not cover p90 of the extent."""
    pairs = zip(_axes(fingerprint.spacing, fingerprint), _axes(fingerprint.extent, fingerprint), size, strict=True)
    return tuple(
        spacing.median if extent.p90 / n <= spacing.median * (1 + SAME_SIZE) else _round_up(extent.p90 / n)
        for spacing, extent, n in pairs
    )


def picture_size(fingerprint: Fingerprint, budget: int) -> tuple[int, ...]:
    """Size of the median picture, scaled down to the budget if it must be; one shape within it stays as it is."""
    shapes = _axes(fingerprint.shape, fingerprint)
    median = [shape.median for shape in shapes]
    if math.prod(median) <= budget:
        same = all(shape.minimum == shape.maximum for shape in shapes)
        return tuple(int(n) if same else _up(n, STEP) for n in median)
    scale = (budget / math.prod(median)) ** (1 / len(median))
    return tuple(max(STEP, int(n * scale) // STEP * STEP) for n in median)


def _axes(spreads: tuple[Spread, Spread, Spread], fingerprint: Fingerprint) -> tuple[Spread, ...]:
    return spreads[: fingerprint.ndim]


def _covering(extents: Sequence[float], spacing: Sequence[float]) -> tuple[int, ...]:
    return tuple(_up(extent / s, STEP) for extent, s in zip(extents, spacing, strict=True))


def _up(needed: float, step: int) -> int:
    """Round up to a multiple of `step`, forgiving what rounded spacings add."""
    return max(step, math.ceil(needed * (1 - SAME_SIZE) / step) * step)


def _round_up(value: float) -> float:
    """Three decimals, never below the value: a spacing that a person can read and that still fits the budget."""
    return math.ceil(value * 1000 - 1e-9) / 1000
