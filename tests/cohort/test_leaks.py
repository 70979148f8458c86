import random

import pytest
from phantoms.evaluations import series

from pipeline.cohort.leaks import audit, check
from pipeline.domain.case import Case, Split
from pipeline.errors import LeakError


def case(name: str, patient: str, split: Split, *, pixels: str = "", voxels: str = "") -> Case:
    image = series(name).model_copy(update={"digest": pixels or f"digest of {name}", "voxels": voxels})
    return Case(case=name, patient=patient, study=f"T{name}", series=(image,), split=split)


CLEAN = (
    case("C1", "P1", Split.TRAIN, voxels="v1"),
    case("C2", "P1", Split.TRAIN, voxels="v1"),
    case("C3", "P2", Split.TEST, voxels="v3"),
    case("C4", "P3", Split.TEST, pixels="digest of C3", voxels="v3"),
    case("C5", "P4", Split.VALIDATION),
    case("C6", "P5", Split.TRAIN),
)
"""A patient twice, and an image twice, but in one split; images whose voxels were not digested."""


def test_what_stays_in_one_split_is_no_leak() -> None:
    assert audit(CLEAN, None) == ()
    assert check(CLEAN, None, acknowledged=False) == 0


def test_a_patient_in_two_splits_is_found() -> None:
    (leak,) = audit([*CLEAN, case("C7", "P1", Split.TEST)], None)
    assert (leak.kind, leak.cases, leak.splits) == ("patient", ("C1", "C2", "C7"), ("train", "train", "test"))


def test_a_patient_whose_image_is_in_two_splits_is_one_leak() -> None:
    assert [leak.kind for leak in audit([*CLEAN, case("C7", "P5", Split.TEST, pixels="digest of C6")], None)] == [
        "patient"
    ]


def test_equal_files_under_two_patients_in_two_splits_are_found() -> None:
    (leak,) = audit([*CLEAN, case("C7", "P9", Split.TEST, pixels="digest of C6")], None)
    assert (leak.kind, leak.cases, leak.patients) == ("pixels", ("C6", "C7"), ("P5", "P9"))


def test_equal_voxels_in_other_files_are_found_once() -> None:
    (leak,) = audit([*CLEAN, case("C7", "P9", Split.VALIDATION, voxels="v3")], None)
    assert (leak.kind, leak.cases) == ("pixels", ("C3", "C4", "C7"))


def test_the_second_series_of_a_case_counts_too() -> None:
    first = case("C8", "P8", Split.TEST)
    both = first.model_copy(update={"series": (*first.series, *CLEAN[5].series)})
    assert [leak.cases for leak in audit([*CLEAN, both], None)] == [("C6", "C8")]


def test_the_message_names_both_and_the_way_on() -> None:
    leaky = [*CLEAN, case("C7", "P9", Split.TEST, pixels="digest of C6"), case("C8", "P4", Split.TRAIN)]
    with pytest.raises(LeakError) as caught:
        check(leaky, None, acknowledged=False)
    assert "one patient: P4 (train, case C8), P4 (validation, case C5)" in str(caught.value)
    assert "the same pixels: P5 (train, case C6), P9 (test, case C7)" in str(caught.value)
    assert "acknowledge_leaks: true" in str(caught.value)
    assert check(leaky, None, acknowledged=True) == 2


def test_a_long_list_is_cut() -> None:
    many = [
        case(f"C{number}{split}", f"P{number}", split) for number in range(12) for split in (Split.TRAIN, Split.TEST)
    ]
    with pytest.raises(LeakError, match="12 leaks") as caught:
        check(many, None, acknowledged=False)
    assert str(caught.value).count("one patient:") == 10 and "and 2 more" in str(caught.value)


def test_the_order_of_cases_does_not_matter() -> None:
    leaky = [*CLEAN, case("C7", "P1", Split.TEST), case("C8", "P9", Split.TEST, pixels="digest of C6")]
    shuffled = random.Random(1).sample(leaky, len(leaky))
    assert audit(shuffled, None) == audit(leaky, None)
