"""The age of a patient, from either of two attributes; a dummy in one of them is none."""

import pytest
from pydicom.dataset import Dataset

from pipeline.readers.dicom.header import age_of


@pytest.mark.parametrize(
    ("age", "born", "seen", "years"),
    [
        ("061Y", "", "", "61"),
        ("018M", "", "", "1"),
        ("003D", "", "", "0"),
        ("095Y", "", "", "90"),
        ("115Y", "", "", "90"),
        ("", "19630201", "20240131", "60"),
        ("", "19630131", "20240131", "61"),
        ("", "19200101", "20240131", "90"),
        ("", "19010101", "20100131", "90"),
        ("", "19700101", "20240131", "54"),
        ("061Y", "19000101", "20240131", "61"),
        ("000Y", "19630201", "20240131", "60"),
        ("999Y", "19630201", "20240131", "60"),
    ],
)
def test_the_age_of_a_patient(age: str, born: str, seen: str, years: str) -> None:
    assert age_of(header_of(age, born, seen)) == years


@pytest.mark.parametrize("age", ["", "000Y", "999Y", "124Y", "61"])
@pytest.mark.parametrize(
    ("born", "seen"),
    [
        ("", "20240131"),
        ("19000101", "20240131"),
        ("19000101", "20000131"),
        ("19000101", "19800131"),
        ("19000000", "20100131"),
        ("18991230", "20100131"),
        ("18991231", "20100131"),
        ("18000101", "20240131"),
        ("17530101", "20240131"),
        ("11111111", "20240131"),
        ("00010101", "20240131"),
        ("00000000", "20240131"),
        ("99991231", "20240131"),
        ("19010101", "20240131"),
    ],
)
def test_a_dummy_is_no_age(age: str, born: str, seen: str) -> None:
    assert age_of(header_of(age, born, seen)) == ""


def header_of(age: str, born: str, seen: str) -> Dataset:
    dataset = Dataset()
    dataset.PatientAge, dataset.PatientBirthDate, dataset.StudyDate = age, born, seen
    return dataset
