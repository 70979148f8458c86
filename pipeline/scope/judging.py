"""Judge a scan by a reference: the verdict, and the reasons in plain words with their figures."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.prediction import FindingPrediction, ScopeVerdict
from pipeline.domain.scope import Detector, ScanFacts, ScopeReference
from pipeline.preprocessing.appearance import Appearance
from pipeline.scope.fitting import AXES
from pipeline.scope.gate import Gate, Scan, excesses, geometry_of
from pipeline.scope.orientations import words
from pipeline.scope.settings import ScopeSettings

MOST_RANGES = 3
"""Facts of geometry that are named; one cause often moves several."""

UNLIKE = {
    Detector.INTENSITY: "the intensities of its voxels are unlike those of the training scans",
    Detector.TEXTURE: "contrast, sharpness or noise are unlike those of the training images",
    Detector.LAYOUT: "what lies where in it is unlike the training images",
    Detector.FEATURES: "the network's features of it are unlike those of the training images",
}


def judge(
    reference: ScopeReference | Gate | None,
    facts: ScanFacts,
    look: Appearance,
    features: NDArray[np.floating] | None = None,
) -> tuple[ScopeVerdict, tuple[str, ...]]:
    """Judge one scan.

    Parameters
    ----------
    reference : ScopeReference, Gate or None
        Of the model package. A :class:`Gate` is one made ready, for many scans. None: nothing to compare with.
    facts, look
        Of the scan, from :class:`pipeline.preprocessing.scans.PreparedScan`.
    features : ndarray, shape (features,), optional
        Of the scan, from the engine's answer; without them the other detectors judge alone.

    Returns
    -------
    ScopeVerdict, tuple of str
        NOT_CHECKED where there is no reference. The reasons name no patient; empty unless out of scope.
    """
    if reference is None:
        return ScopeVerdict.NOT_CHECKED, ()
    gate = reference if isinstance(reference, Gate) else Gate(reference)
    reasons = tuple(_reasons(gate, Scan(facts, look, features)))
    return (ScopeVerdict.OUT_OF_SCOPE if reasons else ScopeVerdict.IN_SCOPE), reasons


def _reasons(gate: Gate, scan: Scan) -> Iterator[str]:
    reference, facts = gate.reference, scan.facts
    if facts.modality != reference.modality:
        yield f"modality {facts.modality or 'not known'}, training {reference.modality}"
    if facts.unit is not reference.unit:
        yield f"its scale is in {facts.unit.value}, in training in {reference.unit.value}"
    if gate.is_other_part(facts):
        yield f"body part {facts.body_part} by its header, training {', '.join(reference.body_parts)}"
    for detector, (score, limit) in gate.exceeded(scan).items():
        match detector:
            case Detector.GEOMETRY:
                yield from _ranges(reference, facts, limit)
            case Detector.ORIENTATION:
                yield _turn(gate, scan)
            case Detector.INVERSION:
                yield f"it looks like a negative: score {score:.1f}, limit {limit:.1f}"
            case _:
                yield f"{UNLIKE[detector]}: distance {math.exp(score):.2f}, limit {math.exp(limit):.2f}"


def _ranges(reference: ScopeReference, facts: ScanFacts, limit: float) -> Iterator[str]:
    beyond = excesses(reference.ranges, facts)
    measured = {(name, unit): value for name, unit, value in geometry_of(facts)}
    found = [one for one, excess in zip(reference.ranges, beyond, strict=False) if excess > limit]
    for one in found[:MOST_RANGES]:
        value = measured.get((one.name, one.unit))
        if value is not None:
            usual = f"{one.low:.4g}" if f"{one.low:.4g}" == f"{one.high:.4g}" else f"{one.low:.4g} to {one.high:.4g}"
            yield f"{one.name} {value:.4g} {one.unit}, training {usual}"
    if not any((one.name, one.unit) in measured for one in found):
        yield "its grid is of another kind than that of the training scans"


def _turn(gate: Gate, scan: Scan) -> str:
    assert gate.turner is not None
    margins = gate.turner.margins(scan.look.layout[np.newaxis])[0]
    turn = gate.turner.turns[int(margins.argmax())]
    said = words(turn.order, turn.flipped, AXES[len(turn.order)])
    limit = gate.limits[Detector.ORIENTATION]
    return f"it would be more like the training images with {said}: margin {margins.max():.1f}, limit {limit:.1f}"


def released(
    findings: tuple[FindingPrediction, ...], verdict: ScopeVerdict, settings: ScopeSettings
) -> tuple[FindingPrediction, ...]:
    """Return the findings that may be written: none where the scan is out of scope and they are to be withheld."""
    is_withheld = verdict is ScopeVerdict.OUT_OF_SCOPE and settings.out_of_scope == "withhold"
    return () if is_withheld else findings
