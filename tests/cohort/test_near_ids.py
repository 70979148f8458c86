"""Patients whose ids are nearly the same are told, and are a leak where name and birth date are the same, too."""

import pytest
from phantoms.evaluations import series

from pipeline.cohort.leaks import audit
from pipeline.cohort.near_ids import near_ids, near_notes, same_persons
from pipeline.cohort.patients import Patient
from pipeline.domain.case import Case, Split


def patients(**ids: str) -> dict[str, Patient]:
    """Patients by pseudonym: ``P1="007|jane"`` has the id 007 and belongs to jane."""
    found = {}
    for name, told in ids.items():
        one, _, person = told.partition("|")
        found[name] = Patient(one, frozenset([one]), frozenset(), frozenset([person]) - {""})
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("p007", "P007"),
        ("007", "7"),
        ("0", "000"),
        ("P7", "P7\u200b"),
        ("M\u00fcller", "Mu\u0308ller"),
        ("stra\u00dfe", "STRASSE"),
    ],
)
def test_ids_that_a_keyboard_or_a_spreadsheet_makes_of_each_other_are_near(one: str, other: str) -> None:
    assert near_ids(patients(P1=one, P2=other, P3="else")) == (("P1", "P2"),)


@pytest.mark.parametrize(("one", "other"), [("P07", "P7"), ("10", "1"), ("1.0", "1"), ("A 1", "A1"), ("p1", "p2")])
def test_other_ids_are_not(one: str, other: str) -> None:
    assert near_ids(patients(P1=one, P2=other)) == ()


def test_any_id_of_a_patient_counts() -> None:
    several = {"P1": Patient("s1", frozenset(["X1", "0042"]), frozenset(["s1"]))}
    assert near_ids(several | patients(P2="42", P3="x1")) == (("P1", "P2", "P3"),)


def test_name_and_birth_date_make_them_one_unless_an_export_gave_all_the_same() -> None:
    some = patients(P1="007|jane", P2="7|jane", P3="8|john", P4="08|jim", P5="9|ann", P6="009")
    assert same_persons(some) == (("P1", "P2"),)
    assert same_persons(patients(P1="007|anonymous", P2="7|anonymous", P3="8|anonymous")) == ()


def test_notes_name_pseudonyms_and_no_ids() -> None:
    some = patients(P1="q007|jane", P2="Q007|jane", P3="q8|john", P4="Q8|jim")
    same, near = near_notes(near_ids(some), same_persons(some))
    assert same.startswith("2 patients have") and "P1 and P2." in same and "they are one" in same
    assert near.startswith("2 patients have") and "P3 and P4." in near and "Where they are one" in near
    assert "q007" not in (same + near).lower() and "jane" not in same
    assert near_notes((), ()) == ()


def test_a_long_list_is_cut() -> None:
    many = tuple((f"P{n}", f"Q{n}") for n in range(9))
    (note,) = near_notes(many, ())
    assert note.startswith("18 patients") and "P4 and Q4 and 4 groups more" in note


@pytest.mark.parametrize(("second", "leaks"), [(Split.TRAIN, 0), (Split.TEST, 1)])
def test_one_person_in_two_splits_is_a_leak(second: Split, leaks: int) -> None:
    splits = {"P1": Split.TRAIN, "P2": second, "P3": Split.TEST}
    cases = [
        Case(case=f"C{name}", patient=name, study=name, series=(series(name),), split=split)
        for name, split in splits.items()
    ]
    told = "one patient, by name, birth date and nearly by id: P1 (train, case CP1), P2 (test, case CP2)"
    assert [str(leak) for leak in audit(cases, None, [("P1", "P2")])] == [told] * leaks
