"""Cases whose scans are unlike the others of their kind: what a reviewer should look at first.

A measure is far out where it lies more than :data:`FAR` robust deviations from the median of its kind (the modified
z-score: 1.4826 x the median absolute deviation stands for the standard deviation; Iglewicz and Hoaglin 1993). Lengths
and counts are compared by their logarithm, so that half is as far as double. Where nearly all scans agree the deviation
is 0; it is taken as at least 5%.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.domain.case import CaseSeries
from pipeline.domain.manifest import Manifest
from pipeline.domain.volume import Volume

FAR = 5.0
DEVIATION = 1.4826
"""Standard deviation of a normal distribution, in median absolute deviations."""

LEAST_DEVIATION = 0.05
FEWEST = 10
"""Scans of one kind below which nothing is far out."""

SAMPLED = 100_000

RULE = (
    f"Scans of one modality, plane and channel are compared, where there are at least {FEWEST}. Flagged is what lies "
    f"more than {FAR:g} robust standard deviations from their median: 1.4826 x the median absolute deviation, at least "
    "5% of a length or count, or of the usual range of intensities."
)

Levels = tuple[float, float]
"""Intensity below which 1% and 99% of the valid voxels of a series lie."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """One measure of one case that is far out.

    Attributes
    ----------
    value, median : float
        Of the case, and of its kind; `unit` says in what.
    deviations : float
        Distance in robust standard deviations, negative below the median.
    """

    case: str
    split: str
    kind: str
    measure: str
    unit: str
    value: float
    median: float
    deviations: float


def levels_of(volume: Volume) -> Levels | None:
    """Intensities of the first channel, by every n-th voxel, so that at most about :data:`SAMPLED` are looked at."""
    first = volume.voxels[0]
    step = max(1, math.ceil((first.size / SAMPLED) ** (1 / max(1, sum(length > 1 for length in first.shape)))))
    part = (slice(None, None, step),) * 3
    voxels = first[part]
    if volume.valid is not None:
        voxels = voxels[volume.valid[part]]
    if not voxels.size:
        return None
    low, high = (float(value) for value in np.percentile(voxels, [1, 99]))
    return low, high


def outliers(manifest: Manifest, levels: Mapping[str, Levels]) -> list[Outlier]:
    """Find what is far out, the farthest first.

    Parameters
    ----------
    levels : mapping of str to Levels
        Pseudonym of a series to its intensities, as far as they are known.
    """
    kinds: dict[tuple[str, str, int], list[tuple[str, str, CaseSeries]]] = defaultdict(list)
    for case in manifest.cases:
        for series in case.series:
            key = series.modality, str(series.plane), series.channel
            kinds[key].append((case.case, str(case.split or ""), series))
    found = [
        one for kind, members in kinds.items() if len(members) >= FEWEST for one in _of_kind(kind, members, levels)
    ]
    return sorted(found, key=lambda one: (-abs(one.deviations), one.case, one.measure))


def _of_kind(
    kind: tuple[str, str, int], members: Sequence[tuple[str, str, CaseSeries]], levels: Mapping[str, Levels]
) -> list[Outlier]:
    modality, plane, channel = kind
    name = f"{modality} {plane}" + (f", channel {channel}" if channel else "")
    measured = [_lengths(series) for _, _, series in members]
    found = []
    for measure, unit in {unit: None for row in measured for unit in row}:
        values = np.array([row.get((measure, unit), math.nan) for row in measured])
        distances = _deviations(np.log(values), LEAST_DEVIATION)
        found += _far(members, name, measure, unit, values, distances)
    known = [levels.get(series.series, (math.nan, math.nan)) for _, _, series in members]
    table = np.array(known, dtype=np.float64)
    widths = table[:, 1] - table[:, 0]
    if np.isfinite(widths).sum() >= FEWEST:
        least = LEAST_DEVIATION * float(np.nanmedian(widths))
        for column, measure in enumerate(("darkest 1%", "brightest 1%")):
            distances = _deviations(table[:, column], least)
            found += _far(members, name, measure, "", table[:, column], distances)
    return found


def _lengths(series: CaseSeries) -> dict[tuple[str, str], float]:
    """Measures above 0 by name and unit."""
    across = max(series.spacing[:2])
    measures = {
        ("pixel spacing", str(series.unit)): across,
        ("rows", ""): float(series.shape[1]),
        ("columns", ""): float(series.shape[0]),
    }
    if series.shape[2] > 1:
        measures[("slice distance", str(series.unit))] = series.spacing[2]
        measures[("slices", "")] = float(series.shape[2])
        measures[("extent along the slices", str(series.unit))] = series.shape[2] * series.spacing[2]
    return measures


def _deviations(values: np.ndarray, least: float) -> np.ndarray:
    if np.isfinite(values).sum() < FEWEST:
        return np.zeros(len(values))
    median = np.nanmedian(values)
    scale = max(DEVIATION * float(np.nanmedian(np.abs(values - median))), least)
    return np.asarray((values - median) / scale) if scale > 0 else np.zeros(len(values))


def _far(
    members: Sequence[tuple[str, str, CaseSeries]],
    kind: str,
    measure: str,
    unit: str,
    values: np.ndarray,
    distances: np.ndarray,
) -> list[Outlier]:
    median = float(np.nanmedian(values))
    return [
        Outlier(case, split, kind, measure, unit, float(value), median, float(distance))
        for (case, split, _), value, distance in zip(members, values, distances, strict=True)
        if abs(distance) > FAR
    ]
