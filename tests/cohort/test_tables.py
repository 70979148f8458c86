import csv
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cohort.accounting import Account
from pipeline.cohort.columns import join, split
from pipeline.cohort.file_row import FileRow
from pipeline.cohort.steps import Left, Steps
from pipeline.cohort.tables import (
    FilesTable,
    ManifestHeader,
    load_files,
    load_header,
    load_manifest,
    parse,
    render,
    save_manifest,
)
from pipeline.domain.case import Case, CaseSeries, Split
from pipeline.domain.codes import Code
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.geometry import Plane, Unit
from pipeline.domain.manifest import Counts, Manifest
from pipeline.domain.rejection import Rejection
from pipeline.domain.series import Disposition
from pipeline.errors import ManifestError

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("edema", "nodule"))
MODALITY = Finding(name="modality", kind=FindingKind.MULTICLASS, classes=("a", "b"))

AWKWARD = st.sampled_from(
    ["", "|", "||", "\\", "\\|", "'", "''=1", "'=1", "=cmd|' /C calc'!A0", "-1", "@x", "\t=", "\r"]
)
TEXT = st.one_of(AWKWARD, st.text(st.characters(exclude_categories=("Cs",)), max_size=12))
SIZE = st.integers(1, 5000)
LENGTH = st.one_of(st.floats(1e-6, 1e6), st.just(0.1 + 0.2))
SERIES = st.builds(
    CaseSeries,
    series=TEXT,
    reader=TEXT,
    stack=st.integers(0, 9),
    modality=TEXT,
    shape=st.tuples(SIZE, SIZE, SIZE),
    spacing=st.tuples(LENGTH, LENGTH, LENGTH),
    unit=st.sampled_from(Unit),
    plane=st.sampled_from(Plane),
    channels=st.sampled_from([1, 3]),
    digest=TEXT,
    voxels=TEXT,
    likeness=TEXT,
)
LABELS = st.fixed_dictionaries(
    {},
    optional={
        "lesion": st.sampled_from(LESION.classes),
        "signs": st.sampled_from(["", "edema", "edema|nodule", "?edema|nodule"]),
        "modality": st.sampled_from(MODALITY.classes),
    },
)
CASES = st.lists(
    st.builds(
        Case,
        case=TEXT,
        patient=TEXT,
        study=TEXT,
        series=st.lists(SERIES, min_size=1, max_size=3).map(tuple),
        labels=LABELS,
        covariates=st.dictionaries(TEXT, TEXT, max_size=2),
        split=st.sampled_from([*Split, None]),
        notes=st.lists(TEXT, max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda case: case.case,
)
NOTHING_LEFT = Left(0, 0, {})
ACCOUNT = Account(
    files=(
        FileRow(path="/scans/a.dcm", sha256="1" * 64, disposition=Disposition.USED, series="S1|S2", case="C1|C2"),
        FileRow(path="/scans/=é,\n\udcff.dcm", sha256="2" * 64, disposition=Disposition.USED, series="S2", case="C2"),
        FileRow(path="/scans/c.dcm", sha256="", disposition=Disposition.REJECTED, code=Code.GAP, series="S3"),
    ),
    rejections=(Rejection(path="/scans/c.dcm", code=Code.GAP, stage="read", message="a gap of 5 mm"),),
    counts=Counts(inputs=3, used=2, skipped=0, rejected=1, cases=2),
    steps=Steps(NOTHING_LEFT, NOTHING_LEFT, Left(1, 1, {"GAP": 1}), used_files=2, used_series=2),
)


def case(name: str, **changes: object) -> Case:
    series = CaseSeries(
        series=f"S{name}",
        reader="dicom",
        modality="CT",
        shape=(4, 5, 6),
        spacing=(0.7, 0.7, 5.0),
        unit=Unit.MM,
        plane=Plane.AXIAL,
        channels=1,
        digest="d" * 64,
    )
    values = {"case": name, "patient": f"P{name}", "study": f"T{name}", "series": (series,), "split": Split.TRAIN}
    return Case.model_validate(values | changes)


def saved(folder: Path) -> tuple[Path, Manifest]:
    cases = (
        case("C1", labels={"lesion": "yes", "signs": ""}, covariates={"age": "61", "site": "Zürich"}),
        case("C2", labels={"signs": "?edema|nodule"}, notes=("one", "two | three")),
    )
    manifest = Manifest(findings=(LESION, SIGNS), cases=cases)
    path = folder / "cohort.v1.csv"
    save_manifest(path, manifest, ACCOUNT)
    return path, manifest


@given(CASES, st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_any_manifest_comes_back_equal(cases: list[Case], leaks: int) -> None:
    manifest = Manifest(findings=(LESION, SIGNS, MODALITY), cases=tuple(cases), acknowledged_leaks=leaks)
    content, header = render(manifest, ACCOUNT.counts)
    again = parse(Path("m.csv"), content, ManifestHeader.model_validate_json(header.model_dump_json()))
    assert again == manifest
    assert again.digest == manifest.digest


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_joined_cells_come_apart_where_they_were_joined(values: list[str]) -> None:
    assert split(join(values)) == values


def test_a_person_can_read_the_table(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    with path.open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    expected = {"case": "C1", "split": "train", "lesion": "yes", "signs": "|", "cov_age": "61", "cov_site": "Zürich"}
    assert first.items() >= expected.items()
    assert first["shape"] == "4x5x6" and first["spacing"] == "0.7x0.7x5"
    assert second["lesion"] == "" and second["signs"] == "?edema|nodule" and second["notes"] == "one|two \\| three"


def test_a_table_without_later_columns_loads_as_it_did(tmp_path: Path) -> None:
    path, manifest = saved(tmp_path)
    table = list(csv.reader(path.open(encoding="utf-8", newline="")))
    place = table[0].index("likeness")
    old = "".join(f"{','.join(row[:place] + row[place + 1 :])}\n" for row in table).encode()
    header = load_header(path).model_copy(update={"table_sha256": hashlib.sha256(old).hexdigest()})
    assert parse(path, old, header) == manifest
    worse = old.replace(b"voxels", b"pixels")
    with pytest.raises(ManifestError, match="does not have the columns"):
        parse(path, worse, header.model_copy(update={"table_sha256": hashlib.sha256(worse).hexdigest()}))


def test_likeness_is_no_part_of_what_a_manifest_is() -> None:
    one = case("C1")
    seen = one.model_copy(update={"series": (one.series[0].model_copy(update={"likeness": "ab"}),)})
    assert Manifest(cases=(one,)).digest == Manifest(cases=(seen,)).digest


def test_the_header_tells_counts_and_findings(tmp_path: Path) -> None:
    path, manifest = saved(tmp_path)
    header = load_header(path)
    assert header.counts == ACCOUNT.counts
    assert header.findings == manifest.findings
    assert json.loads((tmp_path / "cohort.v1.json").read_text(encoding="utf-8"))["schema_version"] == 1


def test_files_come_back_by_series(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    table = load_files(path)
    assert table == FilesTable(ACCOUNT.files)
    assert [file.path.name for file in table.of("S2")] == ["a.dcm", "=é,\n\udcff.dcm"]
    assert [file.sha256 for file in table.of("S1")] == ["1" * 64]
    assert table.of("S3") == () == table.of("")


def test_a_cell_that_a_spreadsheet_would_run_is_escaped_on_disk(tmp_path: Path) -> None:
    manifest = Manifest(cases=(case("C1", covariates={"site": "=cmd|' /C calc'!A0"}),))
    save_manifest(tmp_path / "m.csv", manifest, ACCOUNT)
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["cov_site"].startswith("'=")
    assert load_manifest(tmp_path / "m.csv") == manifest


def test_an_edited_table_is_refused(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace(",train,", ",test,", 1), encoding="utf-8")
    with pytest.raises(ManifestError, match=r"cohort\.v1\.csv is not the table that was ingested: it was edited"):
        load_manifest(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"acknowledged_leaks": 0', '"acknowledged_leaks": 1'),
        ('"yes"\n', '"maybe"\n'),
        ('"rejected": 1', '"rejected": 0'),
        ('"covariates": [\n    "age"', '"covariates": [\n    "sex"'),
        ("{", ""),
    ],
)
def test_an_edited_header_is_refused(tmp_path: Path, old: str, new: str) -> None:
    path, _ = saved(tmp_path)
    header = tmp_path / "cohort.v1.json"
    text = header.read_text(encoding="utf-8")
    assert old in text
    header.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ManifestError):
        load_manifest(path)


def test_another_layout_is_told_as_such(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    header = tmp_path / "cohort.v1.json"
    text = header.read_text(encoding="utf-8").replace('"schema_version": 1', '"schema_version": 99')
    header.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match="layout 99"):
        load_manifest(path)


def test_a_write_that_was_cut_short_leaves_no_valid_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, manifest = saved(tmp_path)
    other = manifest.model_copy(update={"cases": (case("C9"),)})

    def full(place: Path, content: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.cohort.tables.atomic.write_text", full)
    with pytest.raises(OSError, match="No space left"):
        save_manifest(path, other, ACCOUNT)
    with pytest.raises(ManifestError, match="writing it was interrupted"):
        load_manifest(path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    with pytest.raises(ManifestError, match="Give the NAME"):
        load_manifest(tmp_path / "cohort.v1.json")
    (tmp_path / "cohort.v1.files.csv").unlink()
    with pytest.raises(ManifestError, match=r"cohort\.v1\.files\.csv cannot be read: No such file"):
        load_files(path)


def test_findings_whose_columns_would_be_one_are_refused() -> None:
    first = Finding(name="a", kind=FindingKind.MULTICLASS, classes=("no", "b_p_c"))
    second = Finding(name="a_p_b", kind=FindingKind.MULTICLASS, classes=("c", "d"))
    Manifest(findings=(first, LESION), cases=(case("1"),))
    with pytest.raises(ValueError, match="a and a_p_b would both have a column a_p_b_p_c"):
        Manifest(findings=(first, second), cases=(case("1"),))
