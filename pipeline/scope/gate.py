"""Scores of a scan by each detector of a reference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.geometry import Unit
from pipeline.domain.scope import Detector, Range, ScanFacts, ScopeReference
from pipeline.preprocessing.appearance import Appearance
from pipeline.scope.inversion import inversion_scores, vector
from pipeline.scope.orientations import Turner
from pipeline.scope.spaces import Measure

TOLERANCE = 1.1
"""Factor by which a spacing or an extent may always differ from what was trained on."""

WIDER = 0.25
"""Part of the logarithm of the training range that counts as one step beyond it, where that is more."""

SPACES = (Detector.INTENSITY, Detector.TEXTURE, Detector.LAYOUT, Detector.FEATURES)


@dataclass(frozen=True, slots=True)
class Scan:
    """All that the gate looks at.

    Attributes
    ----------
    features : ndarray, shape (features,), or None
        Of :class:`pipeline.engines.engine.Answer`; None: not looked at.
    """

    facts: ScanFacts
    look: Appearance
    features: NDArray[np.floating] | None = None


class Gate:
    """A reference made ready to score scans; build it once, it unpacks arrays."""

    def __init__(self, reference: ScopeReference) -> None:
        self.reference = reference
        spaces = [reference.intensity, reference.texture, reference.layout, reference.features]
        self.measures = [None if space is None else Measure.of(space) for space in spaces]
        self.turner = None if reference.orientation is None else Turner.of(reference.orientation)
        self.limits = {limit.detector: limit.value for limit in reference.limits}

    def scores(self, scan: Scan) -> dict[Detector, float]:
        """Score a scan by every detector that can; larger is less like the training scans."""
        found = {Detector.GEOMETRY: max(excesses(self.reference.ranges, scan.facts), default=0.0)}
        for name, measure, given in zip(SPACES, self.measures, vectors_of(scan), strict=True):
            if measure is not None and given is not None:
                found[name] = math.log(float(measure.distances(given[np.newaxis])[0]) + 1e-6)
        if self.turner is not None and self.turner.turns:
            found[Detector.ORIENTATION] = float(self.turner.margins(scan.look.layout[np.newaxis]).max())
        found[Detector.INVERSION] = float(inversion_scores(self.reference.inversion, vector(scan.look)[np.newaxis])[0])
        return found

    def feature_scores(self, features: NDArray[np.floating]) -> NDArray[np.float64] | None:
        """Scores of features (n, d) by themselves, which the engine decides; None where they are not compared."""
        measure = self.measures[SPACES.index(Detector.FEATURES)]
        if measure is None or Detector.FEATURES not in self.limits:
            return None
        scores: NDArray[np.float64] = np.log(measure.distances(features.astype(np.float64)) + 1e-6)
        return scores

    def exceeded(self, scan: Scan) -> dict[Detector, tuple[float, float]]:
        """Score and limit of each detector whose limit the scan exceeds."""
        scores = self.scores(scan)
        return {
            name: (value, self.limits[name])
            for name, value in scores.items()
            if name in self.limits and not value <= self.limits[name]
        }

    def is_other_part(self, facts: ScanFacts) -> bool:
        """Whether the header names a body part, and none of those that were trained on."""
        known = self.reference.body_parts
        return bool(known) and bool(facts.body_part) and facts.body_part not in known

    def has_other_header(self, facts: ScanFacts) -> bool:
        """Whether modality, unit or the named body part is none that was trained on."""
        is_other = facts.modality != self.reference.modality or facts.unit is not self.reference.unit
        return is_other or self.is_other_part(facts)

    def refuses(self, scan: Scan) -> bool:
        """Whether a scan is out of scope."""
        return self.has_other_header(scan.facts) or bool(self.exceeded(scan))


def vectors_of(scan: Scan) -> tuple[NDArray[np.float64] | None, ...]:
    """Vectors for the spaces of intensity, texture, layout and features."""
    features = None if scan.features is None else scan.features.astype(np.float64)
    return fingerprint(scan.facts), scan.look.texture, scan.look.layout.ravel(), features


def fingerprint(facts: ScanFacts) -> NDArray[np.float64]:
    """Intensities of a scan as a vector; values of any scale enter by the inverse hyperbolic sine."""
    values = np.arcsinh([facts.mean, facts.std, *facts.percentiles])
    return np.array([*values, math.atan(facts.skewness), math.sqrt(facts.lowest)])


def geometry_of(facts: ScanFacts) -> list[tuple[str, str, float]]:
    """Name, unit and value of what is compared of a scan's geometry."""
    is_volume = facts.shape[2] > 1
    axes = ("left to right", "back to front", "feet to head") if is_volume else ("columns", "rows")
    if facts.unit is Unit.PIXEL:
        return [(f"size along {axis}", "pixels", extent) for axis, extent in zip(axes, facts.extent, strict=False)]
    return [
        *((f"spacing along {axis}", "mm", value) for axis, value in zip(axes, facts.spacing, strict=False)),
        *((f"field of view along {axis}", "mm", value) for axis, value in zip(axes, facts.extent, strict=False)),
    ]


def ranges_of(facts: Sequence[ScanFacts]) -> tuple[Range, ...]:
    """Smallest and largest of each of :func:`geometry_of`."""
    rows = [geometry_of(one) for one in facts]
    return tuple(
        Range(name=name, unit=unit, low=min(values), high=max(values))
        for (name, unit, _), values in zip(
            rows[0], zip(*([v for *_, v in row] for row in rows), strict=True), strict=True
        )
    )


def excesses(ranges: Sequence[Range], facts: ScanFacts) -> list[float]:
    """Measure by how many steps each fact lies beyond its range (negative: within); 1e6 for another kind of grid."""
    measured = {(name, unit): value for name, unit, value in geometry_of(facts)}
    found = []
    for one in ranges:
        value = measured.get((one.name, one.unit))
        if value is None:
            return [1e6]
        step = max(math.log(TOLERANCE), WIDER * math.log(one.high / one.low))
        found.append(max(math.log(one.low / value), math.log(value / one.high)) / step)
    return found
