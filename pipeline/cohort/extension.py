"""An older manifest whose patients keep their split."""

from collections.abc import Sequence

from pipeline.cohort.splits import Splits, kept_splits
from pipeline.domain.case import Case
from pipeline.domain.manifest import Manifest
from pipeline.errors import LeakError, ManifestError

LISTED = 10
"""Longest list of patients in a message."""


def settled_by(old: Manifest, cases: Sequence[Case]) -> tuple[Splits, tuple[str, ...]]:
    """Return the splits that an older manifest has settled, and what a reader should know about it.

    Raises
    ------
    ManifestError
        The same scans have other pseudonyms there: it was made with another key.
    LeakError
        The label file gives a patient another split than it had.
    """
    kept = kept_splits(old)
    known = {case.patient for case in cases} & kept.keys()
    if not known and _images(old.cases) & _images(cases):
        raise ManifestError(
            "Scans of the older manifest have other pseudonyms here: it was made with another key.",
            "Give the key that it was made with: `key_file`, or $RESDX_KEY_FILE.",
        )
    moved = sorted({case.patient for case in cases if case.split and kept.get(case.patient, case.split) != case.split})
    if moved:
        more = f" and {len(moved) - LISTED} more" if len(moved) > LISTED else ""
        raise LeakError(
            f"Patients stand in another split than in the older manifest: {', '.join(moved[:LISTED])}{more}.",
            "Correct labels.split_column, or leave `extend` out and train anew.",
        )
    patients = len({case.patient for case in cases})
    return kept, (f"{len(known)} of {patients} patients keep the split of the older manifest.",)


def _images(cases: Sequence[Case]) -> set[str]:
    return {one.voxels or one.digest for case in cases for one in case.series}
