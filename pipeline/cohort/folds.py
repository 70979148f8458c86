"""Folds for cross-validation: the training and validation patients, dealt anew; the test split is never touched.

Patients stay whole, and those whose images are the same or nearly so (:mod:`pipeline.cohort.leaks`) stay together. Each
class of the first finding is spread evenly (scikit-learn's StratifiedGroupKFold). Folds depend on the seed, the
pseudonyms, the labels and the pixels, never on the order of rows.
"""

import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.cohort.near_copies import Image, Thumbnails, near_copies
from pipeline.cohort.splits import UNKNOWN_CLASS, classes_of_patients
from pipeline.domain.case import Case, Split
from pipeline.domain.frozen import Frozen
from pipeline.domain.manifest import Manifest
from pipeline.errors import TrainingError

log = logging.getLogger("resdx")


class Folds(Frozen):
    """Cases of each fold, by pseudonym.

    Attributes
    ----------
    cases : tuple of tuple of str
        One entry a fold, sorted; every training and validation case of the manifest stands in exactly one.
    """

    seed: int
    manifest: str
    cases: tuple[tuple[str, ...], ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set().union(*self.cases)) != sum(map(len, self.cases)):
            raise ValueError("a case stands in two folds")
        return self

    def manifest_of(self, manifest: Manifest, fold: int) -> Manifest:
        """Make the manifest whose validation split is a fold (from 1) and whose training split are the others."""
        held_out, pooled = set(self.cases[fold - 1]), set().union(*self.cases)

        def dealt(case: Case) -> Case:
            split = Split.VALIDATION if case.case in held_out else Split.TRAIN
            return case.model_copy(update={"split": split}) if case.case in pooled else case

        return Manifest(**(dict(manifest) | {"cases": tuple(map(dealt, manifest.cases))}))


def pooled(manifest: Manifest) -> tuple[Case, ...]:
    """Cases that folds are dealt from: training and validation, by pseudonym."""
    found = [case for case in manifest.cases if case.split in (Split.TRAIN, Split.VALIDATION)]
    return tuple(sorted(found, key=lambda case: case.case))


def deal_folds(manifest: Manifest, thumbnails: Thumbnails | None, count: int, seed: int) -> Folds:
    """Deal the training and validation cases to folds.

    Parameters
    ----------
    thumbnails : callable or None
        By which near copies are found; None where none were kept, then only equal pixels are.

    Raises
    ------
    TrainingError
        There are fewer independent patients than folds.
    """
    cases = pooled(manifest)
    groups = tied(cases, thumbnails)
    if len(set(groups)) < count:
        raise TrainingError(
            f"{count} folds need as many independent patients; training and validation have {len(set(groups))} "
            "(patients who share an image count as one).",
            "Set `folds` lower.",
        )
    strata = _strata(cases, groups, manifest)
    if scarce := sorted(name for name, cases_of in Counter(strata).items() if cases_of < count):
        log.warning("Not every one of %d folds can have a case of: %s.", count, ", ".join(scarce))
    numbers = _numbers(strata, groups, count, seed)
    dealt = tuple(
        tuple(case.case for case, mine in zip(cases, numbers, strict=True) if mine == number) for number in range(count)
    )
    if not all(dealt):
        raise TrainingError(
            f"{count} folds cannot be filled: too many cases are tied to one patient or image.", "Set `folds` lower."
        )
    return Folds(seed=seed, manifest=manifest.digest, cases=dealt)


def _numbers(strata: Sequence[str], groups: Sequence[int], count: int, seed: int) -> NDArray[np.int64]:
    """Fold of each case, from 0."""
    if max(Counter(strata).values()) < count:
        raise TrainingError(
            f"No class of the first finding has a case for each of {count} folds.", "Set `folds` lower."
        )
    numbers = np.zeros(len(strata), dtype=np.int64)
    dealing = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for number, (_, held_out) in enumerate(dealing.split(np.zeros(len(strata)), strata, groups)):
            numbers[held_out] = number
    assert len(set(zip(groups, numbers.tolist(), strict=True))) == len(set(groups)), "a patient crosses folds"
    return numbers


def tied(cases: Sequence[Case], thumbnails: Thumbnails | None) -> list[int]:
    """Return the number of each case's group: a patient, with all patients who share an image, is one."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    for case in cases:
        shared = {f"files {one.digest}" for one in case.series} | {f"voxels {one.voxels}" for one in case.series}
        for name in sorted(shared - {"voxels "}):
            leader[find(name)] = find(f"patient {case.patient}")
    if thumbnails is not None:
        found = [(case, one) for case in cases for one in case.series]
        images = [Image(one.series, one.likeness, (case.patient, case.case, one.series)) for case, one in found]
        for i, j in near_copies(images, thumbnails):
            leader[find(f"patient {found[i][0].patient}")] = find(f"patient {found[j][0].patient}")
    numbers: dict[str, int] = {}
    return [numbers.setdefault(find(f"patient {case.patient}"), len(numbers)) for case in cases]


def _strata(cases: Sequence[Case], groups: Sequence[int], manifest: Manifest) -> list[str]:
    """Class by which each case is stratified: the rarest that any case of its group has."""
    by_patient = classes_of_patients(cases, manifest.findings[0] if manifest.findings else None)
    of_group: Mapping[int, set[str]] = defaultdict(set)
    for case, group in zip(cases, groups, strict=True):
        of_group[group] |= by_patient[case.patient]
    counts = Counter(name for classes in of_group.values() for name in classes)
    return [min(of_group[group], key=lambda name: (counts[name], name), default=UNKNOWN_CLASS) for group in groups]
