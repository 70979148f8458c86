"""The figures of the report against counts made by hand; what leaves a box and what stays adds up."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantoms.dicom_series import write_series
from phantoms.readings import read_folder

from pipeline.cohort.accounting import Account
from pipeline.cohort.characteristics import characteristics
from pipeline.cohort.facts import Facts, facts_text
from pipeline.cohort.file_row import FileRow
from pipeline.cohort.flow import flow
from pipeline.cohort.outliers import FEWEST, levels_of, outliers
from pipeline.cohort.page import render
from pipeline.cohort.steps import Left, steps
from pipeline.domain.case import Case, CaseSeries, Split
from pipeline.domain.codes import Code
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.geometry import Geometry, Unit
from pipeline.domain.manifest import Counts, Manifest
from pipeline.domain.series import Disposition, Series
from pipeline.domain.volume import Volume

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
SPLITS = (Split.TRAIN, Split.TRAIN, Split.TEST)
SERIES = Series("dicom", "1", (), "CT")


def case(
    number: int,
    *,
    spacing: Sequence[float] = (0.5, 0.5, 2.0),
    shape: Sequence[int] = (64, 64, 20),
    split: Split | None = None,
    label: str | None = "no",
    **covariates: str,
) -> Case:
    series = CaseSeries(
        series=f"S{number}",
        reader="dicom",
        modality="CT",
        shape=tuple(shape),
        spacing=tuple(spacing),
        unit="mm",
        plane="axial",
        channels=1,
        digest=f"{number}",
    )
    return Case(
        case=f"C{number}",
        patient=f"P{number}",
        study=f"T{number}",
        series=(series,),
        labels={} if label is None else {"lesion": label},
        covariates=covariates,
        split=split,
    )


def account(used: int, codes: dict[str, int], skips: tuple[str, ...], cases: int) -> Account:
    rows = [FileRow(path=f"/u{n}", sha256="", disposition=Disposition.USED) for n in range(used)]
    for code, count in codes.items():
        disposition = Disposition.SKIPPED if code in skips else Disposition.REJECTED
        rows += [FileRow(path=f"/{code}{n}", sha256="", disposition=disposition, code=code) for n in range(count)]
    skipped = sum(codes[code] for code in skips)
    rejected = sum(codes.values()) - skipped
    counts = Counts(inputs=len(rows), used=used, skipped=skipped, rejected=rejected, cases=cases)
    return Account(tuple(rows), (), counts, steps(rows, [SERIES] * cases, ()))


CODES = {"GAP": 3, "TRUNCATED": 1, "INCOMPLETE": 40, "NOT_AN_IMAGE": 2, "DUPLICATE": 5}
ACCOUNT = account(60, CODES, ("NOT_AN_IMAGE", "DUPLICATE"), cases=3)
MANIFEST = Manifest(
    findings=(LESION,),
    cases=tuple(
        case(n, split=split, label=label, age=age, sex="F", vendor=vendor)
        for n, (split, label, age, vendor) in enumerate(
            zip(SPLITS, ("yes", "no", None), ("40", "90", ""), ("A", "B", "A"), strict=True)
        )
    ),
)


def test_the_flow_says_what_left_and_why_and_it_adds_up() -> None:
    told = [" / ".join(box.lines) for box in flow(MANIFEST, ACCOUNT).boxes]
    assert told == [
        "111 files found",
        "51 files in no series / 40 x INCOMPLETE, rejected / 5 x DUPLICATE, skipped / 3 x GAP, rejected"
        " / 2 x NOT_AN_IMAGE, skipped / 1 x TRUNCATED, rejected",
        "3 series found / of 60 files",
        "3 series chosen / of 60 files",
        "3 series used / of 60 files",
        "3 cases / of 3 patients",
        "train / 2 cases of 2 patients",
        "test / 1 case of 1 patient",
    ]


MANY = {code.value: 11 - n for n, code in enumerate(list(Code)[:11])}


def leaving(*at: str) -> Account:
    """Eleven reasons to leave at each of these steps."""
    one = account(60, dict.fromkeys(MANY, 6 * len(at)), (), cases=3)
    steps = {name: Left(66, 0 if name == "unsorted" else 66, MANY) for name in at}
    return replace(one, steps=replace(one.steps, **({"unsorted": Left(0, 0, {})} | steps)))


STEPS = ("unsorted", "unchosen", "unread")


@pytest.mark.parametrize("accounted", [leaving(*STEPS), *(leaving(name) for name in STEPS)])
def test_boxes_do_not_overlap_and_stay_in_the_drawing(accounted: Account) -> None:
    drawn = flow(MANIFEST, accounted)
    boxes = drawn.boxes
    assert any("6 for 3 other reasons" in box.lines for box in boxes)
    for number, one in enumerate(boxes):
        assert one.x >= 0 and one.x + one.width <= drawn.width
        assert one.bottom <= drawn.height
        for other in boxes[:number]:
            apart_x = one.x >= other.x + other.width or other.x >= one.x + one.width
            assert apart_x or one.y >= other.bottom or other.y >= one.bottom
    for x1, y1, x2, y2 in drawn.arrows:
        assert min(x1, x2) >= 0 and max(x1, x2) <= drawn.width
        assert 0 <= y1 <= y2 <= drawn.height


def test_the_table_has_a_column_for_all_and_for_each_split() -> None:
    table = characteristics(MANIFEST)
    assert table.columns == ("all", "train", "test")
    rows = {(row.name, row.value): row.cells for row in table.rows}
    assert rows["cases", ""] == ("3", "2", "1")
    assert rows["age, years", "median (quartiles)"] == ("65 (52 to 78)", "65 (52 to 78)", "-")
    assert rows["age, years", "90 and over, pooled"] == ("1 (33%)", "1 (50%)", "0 (0%)")
    assert rows["age, years", "not known"] == ("1 (33%)", "0 (0%)", "1 (100%)")
    assert rows["vendor", "A"] == ("2 (67%)", "1 (50%)", "1 (100%)")
    assert rows["sex", "F"] == ("3 (100%)", "2 (100%)", "1 (100%)")
    assert rows["lesion", "yes"] == ("1 (33%)", "1 (50%)", "0 (0%)")
    assert rows["lesion", "not known"] == ("1 (33%)", "0 (0%)", "1 (100%)")
    assert rows["pixel spacing, mm", "median (range)"] == ("0.5 (0.5 to 0.5)",) * 3


def cohort(*odd: Case) -> Manifest:
    rng = np.random.default_rng(0)
    usual = [case(n, spacing=(x := float(rng.normal(0.7, 0.03)), x, 2.0)) for n in range(30)]
    return Manifest(cases=(*usual, *odd))


@pytest.mark.parametrize(
    ("odd", "measure"),
    [
        (case(90, spacing=(2.9, 2.9, 2.0)), "pixel spacing"),
        (case(90, spacing=(0.1, 0.1, 2.0)), "pixel spacing"),
        (case(90, shape=(64, 64, 400)), "slices"),
        (case(90, shape=(64, 512, 20)), "rows"),
    ],
)
def test_what_is_unlike_the_others_is_found_and_nothing_else(odd: Case, measure: str) -> None:
    found = outliers(cohort(odd), {})
    assert {one.case for one in found} == {"C90"}
    assert measure in {one.measure for one in found}
    assert abs(found[0].deviations) > 5


def test_an_image_that_is_far_brighter_is_found() -> None:
    rng = np.random.default_rng(1)
    levels = {f"S{n}": (-1000.0 + rng.normal(0, 10), 900.0 + rng.normal(0, 40)) for n in range(30)}
    found = outliers(cohort(), levels | {"S7": (0.0, 65535.0)})
    assert {one.case for one in found} == {"C7"}
    assert found[0].measure == "brightest 1%"
    assert not outliers(cohort(), levels)


def test_few_scans_and_equal_scans_have_no_outlier() -> None:
    few = [case(n) for n in range(FEWEST - 2)]
    assert not outliers(Manifest(cases=(*few, case(90, shape=(64, 64, 400)))), {})
    assert not outliers(Manifest(cases=tuple(case(n) for n in range(40))), {})
    assert not outliers(Manifest(cases=tuple(case(n, shape=(64, 64, 20 + n % 2)) for n in range(40))), {})


def test_levels_are_percentiles_of_what_is_no_padding(tmp_path: Path) -> None:
    stored = np.arange(100 * 100 * 4, dtype=np.int16).reshape(100, 100, 4) % 1000

    def pad(dataset: object, _: int) -> None:
        dataset.PixelPaddingValue = 0  # type: ignore[attr-defined]

    write_series(tmp_path, np.where(stored < 500, 0, stored).astype(np.int16), edit=pad)
    ((_, volume),) = read_folder(tmp_path).volumes
    levels = levels_of(volume)
    assert levels is not None
    assert levels == pytest.approx(np.percentile(stored[stored >= 500], [1, 99]), abs=3)


def test_page_and_json_say_the_same_and_hold_no_path() -> None:
    manifest = Manifest(findings=(LESION,), cases=(*cohort(case(90, spacing=(2.9, 2.9, 2.0))).cases,))
    accounted = account(620, CODES, ("NOT_AN_IMAGE", "DUPLICATE"), cases=31)
    facts = Facts.of(manifest, accounted, {}, ())
    told = json.loads(facts_text(manifest, accounted, facts, ["read this"]))
    page = render(manifest, accounted, facts, ["read this"], "1.0", {"C90": b"jpeg"})
    assert told["files"] == {"inputs": 671, "used": 620, "skipped": 7, "rejected": 44, "cases": 31}
    assert told["steps"]["unsorted"] == {"files": 51, "series": 0, "by_code": CODES}
    assert told["labels"] == {"lesion": {"all": {"no": 31, "yes": 0}}}
    assert told["splits"] == {"all": {"cases": 31, "patients": 31}}
    assert sum(row["series"] for row in told["scans"]) == 31
    assert told["outliers"][0]["case"] == "C90"
    assert told["warnings"] == ["read this"]
    assert 'href="#C90"' in page and 'id="C90"' in page
    assert "671 files found" in page
    assert "/GAP0" not in page + json.dumps(told)
    assert "http" not in page.replace("http-equiv", "")


def test_few_known_values_have_no_outlier_however_many_scans_there_are() -> None:
    def pictured(number: int) -> Case:
        one = case(number, spacing=(1.0, 1.0, 1.0), shape=(64, 64, 1))
        return one.model_copy(update={"series": (one.series[0].model_copy(update={"unit": Unit.PIXEL}),)})

    few = [case(n, spacing=(s, s, 1.0), shape=(64, 64, 1)) for n, s in enumerate((0.5, 0.5, 5.0))]
    found = outliers(Manifest(cases=(*few, *(pictured(n) for n in range(10, 22)))), {})
    assert "pixel spacing" not in {one.measure for one in found}


@pytest.mark.parametrize("shape", [(1000, 1000, 1), (100, 100, 100)])
def test_levels_of_large_images_are_nearly_those_of_all_voxels(shape: tuple[int, int, int]) -> None:
    voxels = np.random.default_rng(0).normal(100, 20, (1, *shape)).astype(np.float32)
    geometry = Geometry(shape=shape, unit="mm", affine=np.eye(4).tolist())
    levels = levels_of(Volume(voxels=voxels, geometry=geometry, modality="CT"))
    assert levels == pytest.approx(np.percentile(voxels, [1, 99]), abs=1.0)
