"""The table of the splits, against counts made by hand."""

from phantoms.evaluations import LESION, series

from pipeline.cohort.characteristics import SHOWN_VALUES, Characteristics, characteristics
from pipeline.domain.case import Case, Split
from pipeline.domain.geometry import Unit
from pipeline.domain.manifest import Manifest


def case(
    number: int, label: str | None = "no", split: Split | None = Split.TRAIN, depth: int = 4, **covariates: str
) -> Case:
    scan = series(str(number)).model_copy(update={"shape": (10, 20, depth), "spacing": (0.5, 0.25, 2.0)})
    labels = {} if label is None else {"lesion": label}
    names = {"case": f"C{number}", "patient": f"P{number // 2}", "study": f"T{number}"}
    return Case(**names, series=(scan,), labels=labels, covariates=covariates, split=split)


def table(*cases: Case) -> Characteristics:
    return characteristics(Manifest(findings=(LESION,), cases=cases))


def cells(found: Characteristics, name: str, value: str = "") -> tuple[str, ...]:
    (row,) = [row.cells for row in found.rows if (row.name, row.value) == (name, value)]
    return row


COHORT = table(
    case(0, "yes", sex="F", age="30", vendor="X"),
    case(1, "no", sex="F", age="50", vendor="X"),
    case(2, None, sex="M", age="90", vendor="Y", depth=8),
    case(4, "yes", Split.TEST, vendor="Y"),
)


def test_all_cases_stand_before_the_splits() -> None:
    assert COHORT.columns == ("all", "train", "test")
    assert cells(COHORT, "cases") == ("4", "3", "1") and cells(COHORT, "patients") == ("3", "2", "1")


def test_labels_and_values_are_counted_with_their_share_of_the_column_and_what_is_missing() -> None:
    assert cells(COHORT, "lesion", "yes") == ("2 (50%)", "1 (33%)", "1 (100%)")
    assert cells(COHORT, "lesion", "not known") == ("1 (25%)", "1 (33%)", "0 (0%)")
    assert cells(COHORT, "sex", "F") == ("2 (50%)", "2 (67%)", "0 (0%)")
    assert cells(COHORT, "sex", "not known") == ("1 (25%)", "0 (0%)", "1 (100%)")
    assert cells(COHORT, "vendor", "Y") == ("2 (50%)", "1 (33%)", "1 (100%)")
    assert not [row for row in COHORT.rows if row.name == "vendor" and row.value == "not known"]


def test_ages_of_90_and_over_are_pooled_and_missing_ones_counted() -> None:
    assert cells(COHORT, "age, years", "median (quartiles)") == ("50 (40 to 70)", "50 (40 to 70)", "-")
    assert cells(COHORT, "age, years", "90 and over, pooled") == ("1 (25%)", "1 (33%)", "0 (0%)")
    assert cells(COHORT, "age, years", "not known") == ("1 (25%)", "0 (0%)", "1 (100%)")


def test_spacing_and_matrix_of_the_scans() -> None:
    assert cells(COHORT, "pixel spacing, mm", "median (range)")[0] == "0.5 (0.5 to 0.5)"
    assert cells(COHORT, "rows", "median (range)")[2] == "20 (20 to 20)"
    assert cells(COHORT, "columns", "median (range)")[2] == "10 (10 to 10)"
    assert cells(COHORT, "slices", "median (range)") == ("4 (4 to 8)", "4 (4 to 8)", "4 (4 to 4)")


def test_pixels_and_millimetres_are_not_mixed() -> None:
    picture = case(2)
    spacing = {"spacing": (1.0, 1.0, 1.0), "unit": Unit.PIXEL}
    picture = picture.model_copy(update={"series": (picture.series[0].model_copy(update=spacing),)})
    found = table(case(0), picture)
    assert cells(found, "pixel spacing, mm", "median (range)") == ("0.5 (0.5 to 0.5)",)
    assert cells(found, "pixel spacing, pixel", "median (range)") == ("1 (1 to 1)",)


def test_single_images_have_no_slices() -> None:
    assert not [row for row in table(case(0, depth=1)).rows if row.name.startswith("slice")]


def test_rare_values_share_a_row_and_nothing_is_lost() -> None:
    found = table(*(case(number, vendor=f"V{number:02d}") for number in range(SHOWN_VALUES + 3)))
    rows = [row for row in found.rows if row.name == "vendor"]
    assert len(rows) == SHOWN_VALUES + 1 and rows[-1].value == "3 others"
    assert sum(int(row.cells[0].split()[0]) for row in rows) == SHOWN_VALUES + 3
