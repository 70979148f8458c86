"""Every writer under test. A new part is entered in PREDICTIONS, DICOM_OBJECTS or OTHERS."""

import csv
import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.config import Part, parts
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.prediction import FindingPrediction, Prediction
from pipeline.errors import DiskFull
from pipeline.writers.predictions import PredictionWriter

PARTS: dict[str, type[Part]] = dict(parts("pipeline.writers"))

PREDICTIONS = ("csv", "jsonl", "parquet")
"""Writers of predictions."""

DICOM_OBJECTS = ("dicom_sc", "dicom_sr")
"""Writers of objects for a PACS, which stand under test in test_dicom_writers.py."""

OTHERS = ("nifti", "html")
"""Writers of volumes and of pages, which stand under test in test_volume_writers.py and test_page_writers.py."""

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("edema", "=nodule"))
FINDINGS = (LESION, SIGNS)
OWN = ["lesion_decision", "lesion_p_no", "lesion_p_yes", "lesion_threshold"]
OWN += ["signs_decision", "signs_p_edema", "signs_p_=nodule", "signs_threshold"]
COLUMNS = ["case", "patient", "study", "series", *OWN, "scope", "scope_reasons", "model", "digest", "notes"]


def predicted(case: str, chance: float, *notes: str) -> Prediction:
    lesion = FindingPrediction(
        finding="lesion",
        probabilities={"no": 1 - chance, "yes": chance},
        decision="yes" if chance >= 0.4 else "no",
        threshold=0.4,
    )
    signs = FindingPrediction(finding="signs", probabilities={"edema": 0.25, "=nodule": 0.75}, decision="=nodule")
    return Prediction(
        case=case,
        patient=f"P{case}",
        study=f"T{case}",
        series=f"S{case}",
        digest="d" * 64,
        model="m" * 64,
        findings=(lesion, signs),
        notes=notes,
    )


THIRD = 1 / 3
SAID = (
    predicted("C3", 0.1),
    predicted("C1", THIRD, "no frame of reference", "straße, größer"),
    predicted("C2", 0.9, "@note"),
)
ORDER = ["C1", "C2", "C3"]


def make(name: str) -> PredictionWriter:
    writer: PredictionWriter = PARTS[name]().build()  # type: ignore[attr-defined]
    return writer


@pytest.fixture(params=PREDICTIONS)
def writer(request: pytest.FixtureRequest) -> PredictionWriter:
    return make(request.param)


def cells(path: Path) -> list[dict[str, object]]:
    """Rows of any format, as far as they share columns."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows: list[dict[str, object]] = pq.read_table(path).to_pylist()
    return rows


def test_every_writer_stands_under_test() -> None:
    assert set(PARTS) <= {*PREDICTIONS, *DICOM_OBJECTS, *OTHERS}


def test_rows_stand_in_the_order_of_their_cases(writer: PredictionWriter, tmp_path: Path) -> None:
    path = tmp_path / f"new folder/predictions{writer.suffix}"
    writer.write(path, SAID, FINDINGS)
    rows = cells(path)
    assert [row["case"] for row in rows] == ORDER
    assert [(row["patient"], row["study"], row["series"]) for row in rows] == [
        (f"P{c}", f"T{c}", f"S{c}") for c in ORDER
    ]
    assert {row["scope"] for row in rows} == {"not_checked"}
    assert [path.name for path in path.parent.iterdir()] == [f"predictions{writer.suffix}"]


def test_equal_predictions_give_equal_bytes(writer: PredictionWriter, tmp_path: Path) -> None:
    one, other = tmp_path / f"a{writer.suffix}", tmp_path / f"b{writer.suffix}"
    other.write_text("what stood there before", encoding="utf-8")
    writer.write(one, SAID, FINDINGS)
    writer.write(other, SAID[::-1], FINDINGS)
    assert one.read_bytes() == other.read_bytes()


def test_a_failure_leaves_the_old_file(
    writer: PredictionWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"predictions{writer.suffix}"
    writer.write(path, SAID[:1], FINDINGS)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.atomic._fsync", full)
    with pytest.raises(DiskFull, match="No space"):
        writer.write(path, SAID, FINDINGS)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_no_prediction_is_a_table_without_rows(writer: PredictionWriter, tmp_path: Path) -> None:
    path = tmp_path / f"predictions{writer.suffix}"
    writer.write(path, (), FINDINGS)
    assert cells(path) == []


def test_csv_has_these_columns_six_decimals_and_no_formula(tmp_path: Path) -> None:
    make("csv").write(tmp_path / "p.csv", SAID, FINDINGS)
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        header, first, second, _ = csv.reader(file)
    assert header == COLUMNS
    names = ["C1", "PC1", "TC1", "SC1"]
    lesion = ["no", "0.666667", "0.333333", "0.400000"]
    signs = ["'=nodule", "0.250000", "0.750000", ""]
    assert first == [
        *names,
        *lesion,
        *signs,
        "not_checked",
        "",
        "m" * 64,
        "d" * 64,
        "no frame of reference; straße, größer",
    ]
    assert second[-1] == "'@note"


def test_what_is_withheld_is_an_empty_cell_and_the_reason_stands_beside_it(tmp_path: Path) -> None:
    reasons = ("unlike in spacing", "no lung in it")
    changes = {"findings": (), "scope": "out_of_scope", "scope_reasons": reasons}
    withheld = Prediction.model_validate(predicted("C2", 0.9).model_dump() | changes)
    for name in ("csv", "parquet", "jsonl"):
        make(name).write(tmp_path / f"p.{name}", [withheld, predicted("C1", 0.1)], FINDINGS)
    table = cells(tmp_path / "p.csv")[1]
    assert {table[column] for column in OWN} == {""}
    assert (table["scope"], table["scope_reasons"]) == ("out_of_scope", "; ".join(reasons))
    assert {cells(tmp_path / "p.parquet")[1][column] for column in OWN} == {None}
    lines = (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()
    assert Prediction.model_validate_json(lines[1]) == withheld


def test_csv_without_rows_still_has_its_columns(tmp_path: Path) -> None:
    make("csv").write(tmp_path / "p.csv", (), FINDINGS)
    assert (tmp_path / "p.csv").read_text(encoding="utf-8") == ",".join(COLUMNS) + "\n"


def test_jsonl_gives_back_each_prediction(tmp_path: Path) -> None:
    make("jsonl").write(tmp_path / "p.jsonl", SAID, FINDINGS)
    lines = (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()
    assert [Prediction.model_validate_json(line) for line in lines] == sorted(SAID, key=lambda one: one.case)


def test_parquet_has_the_columns_of_the_csv_with_types_and_in_full_precision(tmp_path: Path) -> None:
    make("parquet").write(tmp_path / "p.parquet", SAID, FINDINGS)
    frame = pd.read_parquet(tmp_path / "p.parquet")
    assert list(frame.columns) == COLUMNS
    assert frame["lesion_p_yes"].tolist() == [THIRD, 0.9, 0.1]
    assert frame["lesion_threshold"].tolist() == [0.4] * 3
    assert frame["signs_threshold"].isna().all()
    assert frame["signs_decision"].tolist() == ["=nodule"] * 3
    make("parquet").write(tmp_path / "empty.parquet", (), FINDINGS)
    schemas = [pq.read_schema(tmp_path / name) for name in ("p.parquet", "empty.parquet")]
    assert schemas[0].equals(schemas[1])
