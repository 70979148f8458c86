"""Label files as hospitals save them: everything is read as text, every cell at its line and column."""

import io
import re
import zipfile
from pathlib import Path

import pytest
from openpyxl import Workbook

from pipeline.cohort.label_file import LabelTable, load_labels
from pipeline.cohort.label_settings import LabelSettings
from pipeline.errors import LabelFileError


def load(path: Path, content: bytes | str, **settings: object) -> LabelTable:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_labels(LabelSettings.model_validate({"file": path} | settings))


def workbook(*rows: list[object], **others: list[list[object]]) -> bytes:
    book = Workbook()
    assert book.active is not None
    book.active.title = "labels"
    for row in rows:
        book.active.append(row)
    for title, extra in others.items():
        sheet = book.create_sheet(title)
        for row in extra:
            sheet.append(row)
    stream = io.BytesIO()
    book.save(stream)
    return stream.getvalue()


def test_an_export_of_excel_is_read_whole(tmp_path: Path) -> None:
    content = "PatientID;befund\r\n0012345;ja\r\n1.2E+15;nein\r\n".encode("utf-8-sig")
    table = load(tmp_path / "labels.csv", content)
    assert table.columns == ("PatientID", "befund") and table.notes == ()
    assert [dict(row.cells) for row in table.rows] == [
        {"PatientID": "0012345", "befund": "ja"},
        {"PatientID": "1.2E+15", "befund": "nein"},
    ]
    assert [row.line for row in table.rows] == [2, 3]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_seen_in_the_header(tmp_path: Path, delimiter: str) -> None:
    lines = [["PatientID", "age, years" if delimiter == ";" else "age", "x"], ["01", "30", "yes"]]
    table = load(tmp_path / "l.txt", "\n".join(delimiter.join(line) for line in lines))
    assert table.rows[0].cells["PatientID"] == "01" and len(table.columns) == 3


def test_a_header_that_two_delimiters_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match=r"labels\.delimiter"):
        load(tmp_path / "l.csv", "a;b,c\n1;2,3\n")
    assert load(tmp_path / "l.csv", "a;b,c\n1;2,3\n", delimiter=",").columns == ("a;b", "c")


def test_excels_own_directive_is_followed(tmp_path: Path) -> None:
    table = load(tmp_path / "l.csv", "sep=;\r\nid;x\r\n7;yes\r\n")
    assert table.columns == ("id", "x") and table.rows[0].line == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_are_told_by_their_mark(tmp_path: Path, encoding: str) -> None:
    table = load(tmp_path / "l.csv", "PatientID,Größe\n١٢,groß\n".encode(encoding))
    assert table.columns == ("PatientID", "Größe") and table.rows[0].cells["PatientID"] == "١٢"


def test_windows_1252_is_read_with_a_note(tmp_path: Path) -> None:
    table = load(tmp_path / "l.csv", "id,Größe\n1,groß\n".encode("cp1252"))
    assert table.rows[0].cells["Größe"] == "groß"
    assert "Windows-1252" in table.notes[0]
    with pytest.raises(LabelFileError, match="neither"):
        load(tmp_path / "l.csv", b"id,x\n1,\x81\xff\n")


def test_utf_16_without_a_mark_is_refused_unless_named(tmp_path: Path) -> None:
    content = "id,x\n1,yes\n".encode("utf-16-le")
    with pytest.raises(LabelFileError, match="NUL"):
        load(tmp_path / "l.csv", content)
    assert load(tmp_path / "l.csv", content, encoding="utf-16-le").columns == ("id", "x")


def test_quoted_line_ends_keep_the_lines_right(tmp_path: Path) -> None:
    table = load(tmp_path / "l.csv", 'id,note\r\n1,"two\r\nlines"\r\n\r\n2,one\r\n')
    assert [(row.line, row.cells["id"]) for row in table.rows] == [(2, "1"), (5, "2")]
    assert table.rows[0].cells["note"] == "two\r\nlines"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("  \n\n", "is empty"),
        ("id,x\n", "no rows"),
        ("id,x,id\n1,yes,2\n", "stand twice: id"),
        ("id,,x\n1,2,yes\n", "column 2 has no name"),
        ("id,x\n1,yes\n2\n3,no,really\n", "lines 3, 4 do not have the 2 cells"),
        ('id,x\n1,"yes\n', "line 2"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old XLS"),
        (b"PK\x03\x04rubbish", "no readable XLSX"),
    ],
)
def test_damage_is_refused_by_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(LabelFileError, match=message):
        load(tmp_path / "l.csv", content)


def test_a_title_above_the_header_is_told(tmp_path: Path) -> None:
    table: list[list[object]] = [["PatientID", "lesion"], ["01", "yes"], ["02", "no"]]
    with pytest.raises(LabelFileError, match=r"line 1, the first .*a title above the header.*Remove what") as raised:
        load(tmp_path / "l.xlsx", workbook(["Export of 2024-01-01"], [], *table))
    assert "Export" not in str(raised.value) and "delimiter" not in str(raised.value)
    with pytest.raises(LabelFileError, match="a title above the header"):
        load(tmp_path / "l.csv", "Export\nPatientID,lesion\n01,yes\n")
    with pytest.raises(LabelFileError, match=r"lines 3, 4 do not have the 1 cells .*to the right") as raised:
        load(tmp_path / "l.xlsx", workbook(["PatientID"], ["01"], ["02", "no"], ["03", "yes"]))
    assert "delimiter" not in str(raised.value)


def test_blank_columns_at_the_end_are_an_artefact(tmp_path: Path) -> None:
    assert load(tmp_path / "l.csv", "id;x;;\n1;yes;;\n").columns == ("id", "x")


def test_a_workbook_is_known_by_its_content(tmp_path: Path) -> None:
    rows: list[list[object]] = [
        ["PatientID", "lesion"],
        ["0012345", "yes"],
        [12345, 1],
        [1.2e15, True],
        [1234567890123456789, None],
    ]
    table = load(tmp_path / "labels.csv", workbook(*rows))
    assert [row.cells["PatientID"] for row in table.rows] == [
        "0012345",
        "12345",
        "1200000000000000",
        "1.234567890123457e+18",
    ]
    assert [row.cells["lesion"] for row in table.rows] == ["yes", "1", "TRUE", ""]
    assert "PatientID" in table.rows[3].rounded and "PatientID" not in table.rows[1].rounded


@pytest.mark.parametrize("stated", ["A1:C4", "A1:B6", "A1", "B2:C6", "A1:XFD1048576"])
def test_a_sheet_is_read_whole_whatever_range_the_file_states(tmp_path: Path, stated: str) -> None:
    rows: list[list[object]] = [["id", "lesion", "stage"]]
    rows += [[f"{n}", "yes" if n % 2 else "no", n or None] for n in range(4)]
    content = _restated(workbook(*rows, [None, None, None], ["9"]), stated)
    table = load(tmp_path / "l.xlsx", content)
    assert table.columns == ("id", "lesion", "stage")
    assert [(row.line, *row.cells.values()) for row in table.rows] == [
        (2, "0", "no", ""),
        (3, "1", "yes", "1"),
        (4, "2", "no", "2"),
        (5, "3", "yes", "3"),
        (7, "9", "", ""),
    ]


def _restated(content: bytes, stated: str) -> bytes:
    """State another range than the sheet fills, as some exporters do."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name.endswith("sheet1.xml"):
                text, count = re.subn(rb'<dimension ref="[^"]*"', f'<dimension ref="{stated}"'.encode(), text)
                assert count == 1
            new.writestr(name, text)
    return stream.getvalue()


def test_a_second_sheet_counts_whatever_range_it_states(tmp_path: Path) -> None:
    content = _restated(workbook([], [], ["id", "x"], ["1", "yes"], other=[["id", "y"], ["2", "no"]]), "A1")
    with pytest.raises(LabelFileError, match="labels, other"):
        load(tmp_path / "l.xlsx", content)


def test_a_workbook_of_several_sheets_needs_a_name(tmp_path: Path) -> None:
    content = workbook(["id", "x"], ["1", "yes"], other=[["id", "y"], ["2", "no"]])
    with pytest.raises(LabelFileError, match="labels, other"):
        load(tmp_path / "l.xlsx", content)
    assert load(tmp_path / "l.xlsx", content, sheet="other").columns == ("id", "y")
    with pytest.raises(LabelFileError, match="no sheet 'third'"):
        load(tmp_path / "l.xlsx", content, sheet="third")


def test_a_formula_without_a_value_is_no_blank(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match="row 2, column 2: a formula"):
        load(tmp_path / "l.xlsx", workbook(["id", "x"], ["1", "=A2"]))


def test_a_workbook_that_inflates_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.cohort.label_workbook.LARGEST_INFLATED_BYTES", 1000)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", bytes(10_000))
    with pytest.raises(LabelFileError, match="inflates to 10000 bytes"):
        load(tmp_path / "l.xlsx", stream.getvalue())
