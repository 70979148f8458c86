"""Folds: whole patients, whole groups of equal images, every class in each, the test split left alone."""

import numpy as np
import pytest
from phantoms.spheres import FINDINGS, make_case, make_manifest

from pipeline.cohort.folds import Folds, deal_folds, pooled
from pipeline.cohort.likeness import SIDE, perceptual_hash
from pipeline.domain.case import Case, Split
from pipeline.domain.manifest import Manifest
from pipeline.errors import TrainingError

MANIFEST = make_manifest(train=40, validation=20, test=9, ndim=2)


def of_patient(case: Case, patient: str, **changes: object) -> Case:
    return case.model_copy(update={"patient": patient, **changes})


def test_every_case_is_held_out_once_and_test_is_left_alone() -> None:
    folds = deal_folds(MANIFEST, None, 5, 0)

    assert sorted(name for fold in folds.cases for name in fold) == sorted(case.case for case in pooled(MANIFEST))
    for number in range(1, 6):
        made = folds.manifest_of(MANIFEST, number)
        assert {case.case for case in made.of(Split.VALIDATION)} == set(folds.cases[number - 1])
        assert len(made.of(Split.TRAIN)) == 60 - len(folds.cases[number - 1])
        assert made.of(Split.TEST) == MANIFEST.of(Split.TEST)
        assert [case.case for case in made.cases] == [case.case for case in MANIFEST.cases]
        positive = [case.labels["lesion"] == "yes" for case in made.of(Split.VALIDATION)]
        assert len(positive) == 12 and sum(positive) == 8  # two of three, as in the whole


def test_folds_follow_from_seed_and_cases_never_from_their_order() -> None:
    turned = MANIFEST.model_copy(update={"cases": MANIFEST.cases[::-1]})

    assert deal_folds(turned, None, 3, 1).cases == deal_folds(MANIFEST, None, 3, 1).cases
    assert deal_folds(MANIFEST, None, 3, 2).cases != deal_folds(MANIFEST, None, 3, 1).cases


def fold_of(folds: Folds) -> dict[str, int]:
    return {name: number for number, fold in enumerate(folds.cases) for name in fold}


def test_no_patient_and_no_shared_pixels_cross_folds() -> None:
    cases = [make_case(number, Split.TRAIN if number % 4 else Split.VALIDATION, 2) for number in range(48)]
    # three patients of four cases each; case 30 is a copy of case 20, case 31 shows the voxels of case 21
    cases = [of_patient(case, f"P{n // 4}") if n < 12 else case for n, case in enumerate(cases)]
    cases = [case.model_copy(update={"split": Split.TRAIN}) for case in cases]
    cases[30] = of_patient(cases[30], "P30", series=cases[20].series)
    for number in (21, 31):
        series = cases[number].series[0].model_copy(update={"voxels": "v" * 64})
        cases[number] = cases[number].model_copy(update={"series": (series,)})
    manifest = Manifest(findings=FINDINGS, cases=tuple(cases))

    for seed in range(8):
        where = fold_of(deal_folds(manifest, None, 4, seed))
        assert all(len({where[f"C{n}"] for n in range(first, first + 4)}) == 1 for first in (0, 4, 8))
        assert where["C30"] == where["C20"] and where["C31"] == where["C21"]


def test_near_copies_of_two_patients_stay_together() -> None:
    rng = np.random.default_rng(0)
    images = {f"S{n}": rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8) for n in range(24)}
    images["S7"] = np.clip(images["S3"].astype(int) + rng.integers(-2, 3, (SIDE, SIDE)), 0, 255).astype(np.uint8)
    cases = [make_case(number, Split.TRAIN, 2) for number in range(24)]
    for number, case in enumerate(cases):
        series = case.series[0].model_copy(update={"likeness": perceptual_hash(images[f"S{number}"])})
        cases[number] = case.model_copy(update={"series": (series,)})
    manifest = Manifest(findings=FINDINGS, cases=tuple(cases))

    together = [fold_of(deal_folds(manifest, images.__getitem__, 4, seed)) for seed in range(8)]
    assert all(where["C3"] == where["C7"] for where in together)
    apart = [fold_of(deal_folds(manifest, None, 4, seed)) for seed in range(8)]
    assert any(where["C3"] != where["C7"] for where in apart)


def test_an_acknowledged_patient_of_two_splits_trains_and_is_held_out_as_one() -> None:
    cases = list(MANIFEST.cases)
    cases[45] = of_patient(cases[45], "P3")  # validation and training
    manifest = MANIFEST.model_copy(update={"cases": tuple(cases), "acknowledged_leaks": 1})

    for seed in range(6):
        where = fold_of(deal_folds(manifest, None, 5, seed))
        assert where["C45"] == where["C3"]


def test_too_few_patients_are_refused() -> None:
    cases = tuple(of_patient(case, f"P{n % 3}", split=Split.TRAIN) for n, case in enumerate(MANIFEST.cases[:30]))
    with pytest.raises(TrainingError, match=r"4 folds need as many independent patients; .* have 3"):
        deal_folds(Manifest(findings=FINDINGS, cases=cases), None, 4, 0)
