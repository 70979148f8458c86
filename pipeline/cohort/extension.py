"""An older manifest whose patients keep their split, under whatever name their images come back."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

from pipeline.cohort.splits import Splits, kept_splits
from pipeline.domain.case import Case, Split
from pipeline.domain.manifest import Manifest
from pipeline.errors import LeakError, ManifestError

LISTED = 10
"""Longest list of patients in a message."""

Seen = Mapping[str, frozenset[Split]]
"""Image of the older manifest to the splits of its patients: several only where a leak was acknowledged."""

OtherNames = Mapping[str, Collection[str]]
"""Patient to the names that it has under its other ids, one of which the older manifest may know."""


def settled_by(
    old: Manifest, cases: Sequence[Case], other_names: OtherNames = MappingProxyType({})
) -> tuple[Splits, tuple[str, ...]]:
    """Return the splits that an older manifest has settled, and what a reader should know about it.

    A patient that the older manifest does not know by name inherits the split of its other names, or of its images.

    Raises
    ------
    ManifestError
        The same scans have other pseudonyms there: it was made with another key.
    LeakError
        A patient, or an image, would stand in another split than it did.
    """
    kept, seen = kept_splits(old), _seen(old)
    patients = {case.patient for case in cases}
    known = patients & kept.keys()
    renamed = {one for one in patients - known if not kept.keys().isdisjoint(other_names.get(one, ()))}
    if not known and not renamed and seen.keys() & {image for case in cases for image in _images(case)}:
        raise ManifestError(
            "Scans of the older manifest have other pseudonyms here: it was made with another key, or all have moved.",
            "Give the key that it was made with: `key_file`, or $RESDX_KEY_FILE. Files without a header are known by "
            "their path, unless labels.patient_column names their patient.",
        )
    inherited, torn = _inherited(kept, seen, cases, other_names)
    _stop(
        torn,
        "Patients have images of several splits of the older manifest",
        "Correct their identifiers, or leave `extend` out and train anew.",
    )
    kept |= inherited
    _stop(
        {case.patient for case in cases if case.split and kept.get(case.patient, case.split) != case.split},
        "Patients stand in another split than in the older manifest",
        "Correct labels.split_column, or leave `extend` out and train anew.",
    )
    notes = [f"{len(known)} of {len(patients)} patients keep the split of the older manifest."]
    for count, what in ((len(renamed), "other ids"), (len(inherited) - len(renamed), "images")):
        if count:
            notes.append(f"{count} patients have another name than there, and keep the split of their {what}.")
    return kept, tuple(notes)


def _seen(old: Manifest) -> Seen:
    kept = kept_splits(old)
    found: dict[str, set[Split]] = defaultdict(set)
    for case in old.cases:
        for image in _images(case) if case.patient in kept else ():
            found[image].add(kept[case.patient])
    return {image: frozenset(splits) for image, splits in found.items()}


def _inherited(kept: Splits, seen: Seen, cases: Sequence[Case], other_names: OtherNames) -> tuple[Splits, set[str]]:
    """Return splits of patients that only other names or images make known, and the patients that these leave none."""
    allowed: dict[str, frozenset[Split]] = {}
    for case in cases:
        patient = case.patient
        own = frozenset([kept[patient]]) if patient in kept else frozenset(Split)
        named = [frozenset([kept[one]]) for one in other_names.get(patient, ()) if one in kept]
        for splits in (*named, *(seen[image] for image in _images(case) if image in seen)):
            allowed[patient] = allowed.get(patient, own) & splits
    torn = {patient for patient, splits in allowed.items() if not splits}
    order = list(Split)
    renamed = {patient: splits for patient, splits in allowed.items() if splits and patient not in kept}
    return {patient: min(splits, key=order.index) for patient, splits in renamed.items()}, torn


def _images(case: Case) -> Iterator[str]:
    """Name the images of a case by their decoded voxels, which a second export shares, and by their files."""
    for one in case.series:
        yield f"files {one.digest}"
        if one.voxels:
            yield f"voxels {one.voxels}"


def _stop(patients: set[str], message: str, remedy: str) -> None:
    if patients:
        named = sorted(patients)
        more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
        raise LeakError(f"{message}: {', '.join(named[:LISTED])}{more}.", remedy)
