from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms.evaluations import GRADE, LESION, SIGNS, series
from pydantic import ValidationError

from pipeline.cohort.splits import SplitSettings, assign_splits, kept_splits
from pipeline.domain.case import Case, Split
from pipeline.domain.finding import Finding
from pipeline.domain.manifest import Manifest
from pipeline.errors import LabelFileError

SETTINGS = SplitSettings()
SHARES = {Split.TRAIN: 0.7, Split.VALIDATION: 0.15, Split.TEST: 0.15}


def case(patient: str, label: str | None, *, name: str = "", finding: Finding = LESION, **more: object) -> Case:
    values = {"case": name or f"C{patient}", "patient": patient, "study": f"T{patient}", "series": (series("1"),)}
    labels = {} if label is None else {finding.name: label}
    return Case.model_validate(values | {"labels": labels} | more)


def cohort(no: int, yes: int, unknown: int = 0) -> list[Case]:
    labels: list[str | None] = ["no"] * no + ["yes"] * yes + [None] * unknown
    return [case(f"P{number:04d}", label) for number, label in enumerate(labels)]


def dealt(cases: list[Case], finding: Finding = LESION, given: SplitSettings = SETTINGS) -> dict[str, Split]:
    done, _ = assign_splits(cases, (finding,), given)
    assert [one.case for one in done] == [one.case for one in cases]
    assert len({(one.patient, one.split) for one in done}) == len({one.patient for one in done})
    assert all(one.split for one in done)
    return {one.patient: one.split for one in done if one.split}


@given(st.integers(3, 60), st.integers(3, 60), st.integers(0, 20), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_every_class_is_dealt_in_proportion_within_one_patient(no: int, yes: int, unknown: int, seed: int) -> None:
    cases = cohort(no, yes, unknown)
    splits = dealt(cases, given=SplitSettings(seed=seed))
    for label in ("no", "yes"):
        members = [one.patient for one in cases if one.labels.get("lesion") == label]
        counts = Counter(splits[patient] for patient in members)
        assert all(counts[split] for split in Split)
        for split, share in SHARES.items():
            assert abs(counts[split] - share * len(members)) <= 1 or len(members) == 3  # 3: one each


@given(st.permutations(cohort(9, 6, 3)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_does_not_matter(cases: list[Case]) -> None:
    assert dealt(cases) == dealt(cohort(9, 6, 3))


def test_another_seed_deals_other_patients() -> None:
    cases = cohort(40, 20)
    first, second = dealt(cases), dealt(cases, given=SplitSettings(seed=1))
    assert first != second
    assert Counter(first.values()) == Counter(second.values())


def test_a_patient_with_several_cases_counts_once_and_by_the_rarer_class() -> None:
    cases = [*cohort(20, 3), *(case(f"P{number:04d}", "yes", name=f"again{number}") for number in range(3))]
    splits = dealt(cases)
    positive = [f"P{number:04d}" for number in (0, 1, 2, 20, 21, 22)]
    assert Counter(splits[patient] for patient in positive) == {Split.TRAIN: 4, Split.VALIDATION: 1, Split.TEST: 1}


@pytest.mark.parametrize("seed", range(8))
def test_every_site_is_spread_over_all_splits(seed: int) -> None:
    cases = [case(f"P{n:03d}", ("no", "yes")[n % 2], covariates={"site": f"H{n // 20}"}) for n in range(100)]
    splits = dealt(cases, given=SplitSettings(seed=seed))
    for site in range(5):
        counts = Counter(splits[f"P{n:03d}"] for n in range(20 * site, 20 * site + 20))
        assert all(abs(counts[split] - 20 * share) <= 2 for split, share in SHARES.items()), counts


def test_sites_of_one_patient_do_not_all_go_to_train() -> None:
    single = [case(f"P{n:03d}", ("no", "yes")[n % 2], covariates={"site": f"H{n}"}) for n in range(100)]
    assert Counter(dealt(single).values()) == {Split.TRAIN: 70, Split.VALIDATION: 15, Split.TEST: 15}


def test_ordinal_and_multilabel_findings_are_stratified_by_their_rarest_class() -> None:
    grades = [case(f"P{n:03d}", GRADE.classes[min(2, n // 20)], finding=GRADE) for n in range(50)]
    splits = dealt(grades, GRADE)
    counts = Counter(splits[f"P{n:03d}"] for n in range(40, 50))
    assert counts[Split.TRAIN] == 7 and {counts[Split.VALIDATION], counts[Split.TEST]} == {1, 2}
    marks = [case(f"P{n:03d}", ("", "edema", "edema|nodule", "?edema")[n // 20], finding=SIGNS) for n in range(80)]
    splits = dealt(marks, SIGNS)
    for start in (0, 20, 40):
        counts = Counter(splits[f"P{n:03d}"] for n in range(start, start + 20))
        assert counts == {Split.TRAIN: 14, Split.VALIDATION: 3, Split.TEST: 3}


def test_patients_of_an_older_manifest_keep_their_split() -> None:
    old = cohort(20, 10)
    manifest = Manifest(findings=(LESION,), cases=assign_splits(old, (LESION,), SETTINGS)[0])
    keep = kept_splits(manifest)
    cases = cohort(20, 10) + [case(f"N{n:03d}", ("no", "yes")[n % 2]) for n in range(20)]
    done, _ = assign_splits(cases, (LESION,), SplitSettings(seed=9), keep)
    splits = {one.patient: one.split for one in done}
    assert {patient: splits[patient] for patient in keep} == keep
    counts = Counter(splits.values())
    assert counts[Split.TRAIN] == 35 and {counts[Split.VALIDATION], counts[Split.TEST]} == {7, 8}


def test_patients_that_come_one_by_one_reach_every_split() -> None:
    keep: dict[str, Split] = {}
    cases = []
    for number in range(40):
        cases.append(case(f"P{number}", ("no", "yes")[number % 2]))
        if number >= 5:
            done, _ = assign_splits(cases, (LESION,), SETTINGS, keep)
            keep = {one.patient: one.split for one in done if one.split}
    assert Counter(keep.values()) == {Split.TRAIN: 28, Split.VALIDATION: 6, Split.TEST: 6}


def test_a_given_split_stays_and_is_not_mended() -> None:
    official = [case(f"P{n % 9}", "no", name=f"C{n}", split=list(Split)[n % 3 - n // 9]) for n in range(12)]
    done, warnings = assign_splits(official, (LESION,), SETTINGS)
    assert list(done) == official and not warnings
    (late, *_), _ = assign_splits([case("P0", "yes", name="late"), *official[:9]], (LESION,), SETTINGS)
    assert late.split is official[0].split


def test_too_few_patients_of_a_class_stop_and_name_it() -> None:
    with pytest.raises(LabelFileError, match=r"lesion: too few patients .* yes \(2\)"):
        assign_splits(cohort(20, 2), (LESION,), SETTINGS)
    with pytest.raises(LabelFileError, match=r"no \(0\)"):
        assign_splits(cohort(0, 20), (LESION,), SETTINGS)
    with pytest.raises(LabelFileError, match="2 patients for 3 splits"):
        assign_splits(cohort(1, 1), (LESION,), SETTINGS)
    assert set(dealt(cohort(20, 2), given=SplitSettings(train=0.5, validation=0.5, test=0)).values()) == {
        Split.TRAIN,
        Split.VALIDATION,
    }


def test_a_rare_class_of_many_is_a_warning() -> None:
    grades = [case(f"P{n}", GRADE.classes[n % 2 if n else 2], finding=GRADE) for n in range(30)]
    _, (warning,) = assign_splits(grades, (GRADE,), SETTINGS)
    assert "grade" in warning and "severe (1)" in warning


def test_fractions_must_sum_to_one() -> None:
    with pytest.raises(ValidationError, match=r"sum to 0\.9, expected 1"):
        SplitSettings(train=0.6)


def test_patients_are_dealt_by_chance_and_not_by_their_place() -> None:
    numbers = [int(patient[1:]) for patient, split in dealt(cohort(350, 150)).items() if split is Split.TEST]
    assert len(numbers) in (74, 75, 76)
    assert sum(number < 175 for number in numbers) == pytest.approx(26, abs=15)
    assert sum(number % 2 for number in numbers) == pytest.approx(37, abs=18)
