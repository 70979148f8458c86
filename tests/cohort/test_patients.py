"""Which cases are of one patient, where headers and label file each know a part of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from phantoms.evaluations import series as case_series

from pipeline.cohort.label_join import Joined
from pipeline.cohort.patients import patient_notes, patients_of
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.case import Case
from pipeline.domain.series import Identity, Series, SourceFile


def candidate(key: str, patient_id: str) -> CaseCandidate:
    one = Series("dicom", key, (SourceFile(Path(key), key, 1),), "CT", identity=Identity(patient_id, key, key))
    return CaseCandidate(key, one.identity, (one,))


def joined(told: Mapping[str, str], *, own: bool = False) -> Joined:
    patients = {key: frozenset([name]) - {""} for key, name in told.items()}
    return Joined({}, {}, {}, 0, (), (), patients, own)


def names(headers: Mapping[str, str], told: Mapping[str, str], *, own: bool = False) -> dict[str, str]:
    found = patients_of([candidate(*pair) for pair in headers.items()], joined(told, own=own))
    return {key: one.name for key, one in found.of.items()}


def notes(headers: Mapping[str, str], told: Mapping[str, str], *, own: bool = False) -> str:
    patients = patients_of([candidate(*pair) for pair in headers.items()], joined(told, own=own))
    cases = [
        Case(
            case=key,
            patient=patients.of[key].name if key in patients.of else key,
            study=key,
            series=(case_series(key),),
            labels={"lesion": "yes"},
        )
        for key in headers
    ]
    return "\n".join(patient_notes(patients, cases, str))


def test_what_only_one_of_them_says_is_taken() -> None:
    assert names({"a": "1", "b": "", "c": ""}, {"a": "", "b": "2", "c": ""}) == {"a": "1", "b": "2"}


def test_a_subject_of_several_patient_ids_is_one_patient_named_as_a_later_export_names_it() -> None:
    headers, told = {"a": "X1", "b": "X2", "c": "X3"}, {"a": "s1", "b": "s1", "c": "s2"}
    assert names(headers, told, own=True) == {"a": "s1", "b": "s1", "c": "s2"}
    assert notes(headers, told, own=True) == (
        "1 patients of the label file have several PatientIDs in the headers; each counts once."
    )


def test_a_patient_id_of_several_subjects_is_one_patient() -> None:
    headers, told = {"a": "X1", "b": "X1", "c": "X3"}, {"a": "s1", "b": "s2", "c": "s3"}
    assert names(headers, told, own=True) == {"a": "s1", "b": "s1", "c": "s3"}
    assert "1 patients of the headers have several names" in notes(headers, told, own=True)


def test_patients_are_tied_over_others() -> None:
    told = {"a": "s1", "b": "s1", "c": "s2", "d": "s3"}
    found = names({"a": "X1", "b": "X2", "c": "X2", "d": "X4"}, told, own=True)
    assert found["a"] == found["b"] == found["c"] != found["d"]


def test_where_the_column_is_that_of_the_headers_they_name_the_patient() -> None:
    headers, told = {"a": "001", "b": "1", "c": "002"}, {"a": "1", "b": "1", "c": "2"}
    assert names(headers, told) == {"a": "001", "b": "001", "c": "002"}


def test_one_id_for_all_scans_gives_way_to_the_label_file() -> None:
    headers, told = dict.fromkeys("abc", "ANONYMOUS"), {"a": "s1", "b": "s1", "c": "s2"}
    assert names(headers, told, own=True) == told
    assert "tells no patients apart" in notes(headers, told, own=True) and "ANON" not in notes(headers, told, own=True)


def test_one_id_for_all_scans_without_other_names_is_told() -> None:
    assert "anonymised" in notes(dict.fromkeys("abc", "ANONYMOUS"), {})
    assert notes({"a": "1", "b": "2"}, {}) == ""


def test_cases_without_a_patient_are_counted() -> None:
    assert notes({"a": "", "b": "1", "c": ""}, {}).startswith("2 cases have no patient id")


@pytest.mark.parametrize("count", [20_000])
def test_many_names_of_one_patient_take_no_time(count: int) -> None:
    headers = {str(n): "X" if n else "Y" for n in range(count)}
    assert set(names(headers, {str(n): f"s{n}" for n in range(count)}).values()) == {"X", "Y"}
