"""Counts of a cohort and covariates of a case, against counts made by hand."""

import pytest

from pipeline.cohort.covariates import covariates_of, left_out, pooled
from pipeline.cohort.tally import by_class, by_shape, patients
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.case import Case, CaseSeries, Split
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.manifest import Manifest
from pipeline.domain.series import Identity, Series

MARKS = Finding(name="marks", kind=FindingKind.MULTILABEL, classes=("a", "b"))


def case(number: int, label: str | None, split: Split | None, **covariates: str) -> Case:
    series = CaseSeries(
        series=f"S{number}",
        reader="dicom",
        modality="CT",
        shape=(8, 8, 4 + number // 3),
        spacing=(0.5, 0.5, 2.0),
        unit="mm",
        plane="axial",
        channels=1,
        digest=f"{number}",
    )
    labels = {} if label is None else {"marks": label}
    names = {"case": f"C{number}", "patient": f"P{number // 2}", "study": f"T{number}"}
    return Case(**names, series=(series,), labels=labels, covariates=covariates, split=split)


MANIFEST = Manifest(
    findings=(MARKS,),
    cases=(
        case(0, "a|b", Split.TRAIN, vendor="X"),
        case(1, "a|?b", Split.TRAIN, vendor="Y"),
        case(2, "", Split.TEST, vendor="X"),
        case(3, None, Split.TEST),
    ),
)


def test_a_multilabel_case_counts_in_each_class_that_it_has() -> None:
    assert by_class(MANIFEST, MARKS) == {"train": {"a": 2, "b": 1}, "test": {"a": 0, "b": 0, "not known": 1}}


def test_patients_and_shapes() -> None:
    assert patients(MANIFEST.cases) == 2
    assert by_shape(MANIFEST) == [
        ("CT", "axial", "0.5 x 0.5 x 2 mm", "4", 3),
        ("CT", "axial", "0.5 x 0.5 x 2 mm", "5", 1),
    ]


def candidate(*attributes: dict[str, str]) -> CaseCandidate:
    series = tuple(Series("dicom", f"1.{n}", (), "MG", attributes=one) for n, one in enumerate(attributes))
    return CaseCandidate("1", Identity(), series)


def test_only_values_of_a_known_form_are_taken_from_headers() -> None:
    found = covariates_of(
        candidate(
            {"sex": "Anna Meier", "age": "93", "view": "MLO", "laterality": "L", "site": "St  Mary", "echo": "1"}
        ),
        lambda name: f"<{name}>",
        None,
        None,
    )
    assert found == {"age": "90", "laterality": "L", "site": "<St Mary>", "view": "MLO"}


def test_series_of_a_case_that_differ_name_all_values() -> None:
    assert covariates_of(candidate({"view": "MLO"}, {"view": "CC"}), str, None, None) == {"view": "CC|MLO"}


@pytest.mark.parametrize(
    ("age", "shown"), [("89", "89"), ("90", "90"), ("101", "90"), ("61.9", "61"), ("old", ""), ("", "")]
)
def test_ages_are_pooled_at_90(age: str, shown: str) -> None:
    assert pooled(age) == shown


@pytest.mark.parametrize("name", ["SIEMENS", "GE MEDICAL SYSTEMS", "Philips", "MAGNETOM Vida 3.0T", "A/B & C+D-500"])
def test_usual_makes_of_scanners_are_shown(name: str) -> None:
    found = candidate({"vendor": name, "model": f" {name} "})
    assert covariates_of(found, str, None, None) == {"vendor": name, "model": name} and left_out(found) == ()


@pytest.mark.parametrize(
    "name",
    [
        "DOE^JANE",
        "Doe, Jane",
        "Doe Jane 1950-01-02",
        "Doe Jane 2.1.1950",
        "Doe Jane 01 02 50",
        "Doe Jane 2 Jan 1950",
        "Doe Jane Jan 2 1950",
        "Scanner 4711471",
        "M\u00fcller",
        "<b>",
        "x" * 41,
        "a\nb|c",
    ],
)
def test_what_may_name_a_patient_is_left_out_with_a_note(name: str) -> None:
    found = candidate(dict.fromkeys(("vendor", "model", "sex", "age", "laterality", "view"), name))
    assert covariates_of(found, str, None, None) == {}
    assert left_out(found) == tuple(
        f"the header's {attribute} is no usual value and is left out"
        for attribute in ("vendor", "model", "sex", "age", "laterality", "view")
    )


@pytest.mark.parametrize(
    ("view", "shown"),
    [("MLO", "MLO"), ("xccl", "XCCL"), ("Medio-lateral  oblique", "MLO"), ("postero-anterior", "PA"), ("LLD", "LLD")],
)
def test_views_are_shown_by_their_defined_term(view: str, shown: str) -> None:
    assert covariates_of(candidate({"view": view}), str, None, None) == {"view": shown}
