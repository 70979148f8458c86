"""Fit a reference to training scans, with limits from scans that were held out.

Everything but the features is measured on images, so that scans of the training split count as held out where a
reference was fitted without them: they are dealt into :data:`FOLDS` folds, no patient into two. The network has seen
the training split, and features of scans that a network was trained on lie closer together than those of others: their
limit rests on the validation split, and the training split only says how far the rarest scores lie from the middle.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.frozen import digest
from pipeline.domain.scope import Detector, Limit, ScopeReference
from pipeline.preprocessing.appearance import Appearance
from pipeline.scope.gate import Gate, Scan, fingerprint, ranges_of
from pipeline.scope.inversion import fit_inversion, vector
from pipeline.scope.limits import REFUSED_BY_FEATURES, joint_limits, limit_beside
from pipeline.scope.orientations import (
    TOLD,
    after,
    all_turns,
    fit_folds,
    fit_orientation,
    margins_of,
    orientation_of,
    place_of,
    words,
)
from pipeline.scope.spaces import fit_space

FOLDS = 5
FEWEST = 20
"""Patients of the training scans below which nothing is fitted: they do not show what is usual."""

FEWEST_FEATURES = 10
"""Validation scans below which features are not compared."""

MULTIPLES = {Detector.ORIENTATION: 20, Detector.INVERSION: 2}
"""Detectors of errors that are known beforehand get the larger part of what may be refused; mistaken axes nearly all,
for of all errors they change an image the least."""

NEGLIGIBLE = 0.01
"""Difference of intensities, texture and layout that means nothing: they have no unit, and are about 1."""

NAMED = 0.9
"""Share of the training scans that must name a body part for it to be compared."""

AXES = {2: ("columns", "rows"), 3: ("left-right", "front-back", "up-down")}


@dataclass(frozen=True, slots=True)
class Sample:
    """One case to fit to.

    Attributes
    ----------
    patient : str
        Pseudonym; decides the fold.
    negative : Appearance
        Of its image turned over.
    """

    patient: str
    scan: Scan
    negative: Appearance


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Scores of one case by what was fitted without it, of its negative, and its margins of all turns.

    Attributes
    ----------
    seen : float or None
        Score of its features where the network was trained on it; it then stands not among `scores`.
    """

    scores: dict[Detector, float]
    seen: float | None
    negative: float
    margins: NDArray[np.float64]


def fit_reference(training: Sequence[Sample], validation: Sequence[Sample]) -> ScopeReference | None:
    """Fit a reference; None where the training cases are of fewer than :data:`FEWEST` patients.

    Parameters
    ----------
    training, validation : sequence of Sample
        No patient in both. Without validation cases features are not compared, and the limits of all else rest on the
        folds.
    """
    if len({sample.patient for sample in training}) < FEWEST:
        return None
    folds = _folds(training)
    penalty, weights_without = fit_folds(_layouts(training), folds)
    held_out = [*_across_folds(training, folds, weights_without)]
    draft = _fit(training)
    weights = fit_orientation(_layouts(training), penalty)
    held_out += [*_held_out(draft, weights, validation)]
    orientation = orientation_of(weights, np.stack([one.margins for one in held_out]))
    draft = draft.model_copy(update={"orientation": orientation})
    if sum(one.scan.features is not None for one in validation) < FEWEST_FEATURES:
        draft = draft.model_copy(update={"features": None})
    reference = _with_limits(draft, held_out, validation)
    return _with_shares(reference, held_out, validation)


def _fit(training: Sequence[Sample]) -> ScopeReference:
    """All but orientation, limits and shares."""
    scans = [sample.scan for sample in training]
    facts = [scan.facts for scan in scans]
    features = [scan.features for scan in scans if scan.features is not None]
    parts = [one.body_part for one in facts if one.body_part]
    return ScopeReference(
        modality=facts[0].modality,
        unit=facts[0].unit,
        body_parts=tuple(sorted(set(parts))) if len(parts) >= NAMED * len(facts) else (),
        ranges=ranges_of(facts),
        intensity=fit_space(np.stack([fingerprint(one) for one in facts]), NEGLIGIBLE),
        texture=fit_space(np.stack([scan.look.texture for scan in scans]), NEGLIGIBLE),
        layout=fit_space(_layouts(training).reshape(len(scans), -1), NEGLIGIBLE),
        features=fit_space(np.stack(features).astype(np.float64)) if len(features) >= FEWEST else None,
        orientation=None,
        inversion=fit_inversion(
            np.stack([vector(scan.look) for scan in scans]), np.stack([vector(sample.negative) for sample in training])
        ),
        limits=(),
        cases=len(training),
        validation=0,
        validation_refused=0,
        held_out=0,
        held_out_refused=0,
    )


def _layouts(samples: Sequence[Sample]) -> NDArray[np.float64]:
    return np.stack([sample.scan.look.layout for sample in samples])


def _folds(training: Sequence[Sample]) -> NDArray[np.intp]:
    """Deal training cases into folds, by patient; return the number of the fold of each."""
    drawn = {sample.patient: int(digest(sample.patient)[:8], 16) for sample in training}
    ranked = {patient: rank % FOLDS for rank, patient in enumerate(sorted(drawn, key=lambda name: drawn[name]))}
    return np.array([ranked[sample.patient] for sample in training])


def _across_folds(
    training: Sequence[Sample], folds: NDArray[np.intp], weights_without: Mapping[int, NDArray[np.float64]]
) -> Iterator[HeldOut]:
    """Yield each training case as held out; the network has seen it all the same."""
    for fold, weights in weights_without.items():
        others = [sample for sample, number in zip(training, folds, strict=True) if number != fold]
        own = [sample for sample, number in zip(training, folds, strict=True) if number == fold]
        yield from _held_out(_fit(others), weights, own, seen=True)


def _held_out(
    draft: ScopeReference, weights: NDArray[np.float64], samples: Sequence[Sample], *, seen: bool = False
) -> Iterator[HeldOut]:
    gate = Gate(draft)
    for sample in samples:
        turned_over = Scan(sample.scan.facts, sample.negative)
        scores = gate.scores(sample.scan)
        yield HeldOut(
            seen=scores.pop(Detector.FEATURES, None) if seen else None,
            scores=scores,
            negative=gate.scores(turned_over)[Detector.INVERSION],
            margins=margins_of(weights, sample.scan.look.layout[np.newaxis])[0],
        )


def _told(reference: ScopeReference) -> NDArray[np.bool_]:
    """Which of all turns can be told."""
    assert reference.orientation is not None
    return np.array([turn.told >= TOLD for turn in reference.orientation.turns])


def _scores_of(reference: ScopeReference, one: HeldOut) -> dict[Detector, float]:
    """Scores of a held-out case, with orientation by the turns that can be told."""
    told = _told(reference)
    return one.scores | ({Detector.ORIENTATION: float(one.margins[told].max())} if told.any() else {})


def _with_limits(draft: ScopeReference, held_out: Sequence[HeldOut], validation: Sequence[Sample]) -> ScopeReference:
    """Limits of all detectors: those of images jointly, that of the features by itself."""
    rows = [_scores_of(draft, one) for one in held_out]
    scores = {name: [row[name] for row in rows] for name in Detector if all(name in row for row in rows)}
    limits = joint_limits(scores, MULTIPLES)
    limits[Detector.GEOMETRY] = max(limits[Detector.GEOMETRY], 1.0)
    seen = dict.fromkeys(limits, len(held_out))
    if draft.features is not None:
        own = [row[Detector.FEATURES] for row in rows if Detector.FEATURES in row]
        trained_on = [one.seen for one in held_out if one.seen is not None]
        limits[Detector.FEATURES] = limit_beside(own, trained_on, REFUSED_BY_FEATURES)
        seen[Detector.FEATURES] = len(own)
    known = {*draft.body_parts, ""}
    is_known = all(sample.scan.facts.body_part in known for sample in validation)
    kept = tuple(Limit(detector=name, value=value, held_out=seen[name]) for name, value in limits.items())
    return draft.model_copy(update={"limits": kept, "body_parts": draft.body_parts if is_known else ()})


def _with_shares(
    reference: ScopeReference, held_out: Sequence[HeldOut], validation: Sequence[Sample]
) -> ScopeReference:
    """Count what is refused among the held-out cases, and what is caught of spoiled ones."""
    limits = {limit.detector: limit.value for limit in reference.limits}
    rows = [_scores_of(reference, one) for one in held_out]
    refused = [any(row[name] > limits[name] for name in row if name in limits) for row in rows]
    over = limits[Detector.INVERSION]
    caught = {"negatives": float(np.mean([one.negative > over for one in held_out]))}
    told = _told(reference)
    if told.any():
        caught["images with mistaken axes"] = float(np.mean(_turns_caught(reference, held_out, limits)))
    gate = Gate(reference)
    return reference.model_copy(
        update={
            "validation": len(validation),
            "validation_refused": sum(gate.refuses(sample.scan) for sample in validation),
            "held_out": len(held_out),
            "held_out_refused": sum(refused),
            "caught": caught,
            "notes": tuple(_notes(reference)),
        }
    )


def _turns_caught(
    reference: ScopeReference, held_out: Sequence[HeldOut], limits: Mapping[Detector, float]
) -> list[float]:
    """Of each turn that can be told, the share of held-out images, turned so, that orientation refuses."""
    told = _told(reference)
    turns = [turn for turn, is_told in zip(all_turns(_ndim(reference)), told, strict=True) if is_told]
    margins = np.stack([one.margins for one in held_out])
    shares = []
    for turn in turns:
        again = [place_of(after(other, turn)) for other in turns]
        scores = np.column_stack([margins, np.zeros(len(margins))])
        own = scores[:, place_of(turn)]
        best = np.max([scores[:, place] for place in again], axis=0)
        shares.append(float((best - own > limits[Detector.ORIENTATION]).mean()))
    return shares


def _ndim(reference: ScopeReference) -> int:
    assert reference.orientation is not None
    return len(reference.orientation.turns[0].order)


def _notes(reference: ScopeReference) -> Iterator[str]:
    """Yield what cannot be checked with these training scans."""
    names = AXES[_ndim(reference)]
    told = _told(reference)
    unseen = [words(*turn, names) for turn, is_told in zip(all_turns(len(names)), told, strict=True) if not is_told]
    if unseen:
        more = f" and {len(unseen) - 8} more" if len(unseen) > 8 else ""
        yield f"Axes mistaken in these ways cannot be told in this data: {'; '.join(unseen[:8])}{more}."
    if reference.features is None:
        yield "The network's features are not compared: too few cases were held out from it."
