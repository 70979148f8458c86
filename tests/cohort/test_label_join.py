"""Which row belongs to which scan; what a spreadsheet has spoiled is listed and never mended."""

import os
from pathlib import Path

import pytest

from pipeline.cohort.label_columns import find_columns
from pipeline.cohort.label_damage import Damage, KnownIds, summary
from pipeline.cohort.label_file import LabelRow, load_labels
from pipeline.cohort.label_join import Joined, join_labels
from pipeline.cohort.label_settings import LabelSettings
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.series import Identity, Series, SourceFile
from pipeline.errors import LabelFileError

ROOT = Path("/scans")


def series(
    patient: str, study: str, date: str = "", accession: str = "", uid: str = "", path: str = "", laterality: str = ""
) -> Series:
    relative = path or f"{patient}/{study}/1"
    file = SourceFile(ROOT / relative, relative, 1)
    identity = Identity(patient, study, uid or (f"{study}.1" if study else ""), accession, date)
    return Series(
        "dicom",
        identity.series_uid or relative,
        (file,),
        "CT",
        identity=identity,
        attributes={"laterality": laterality},
    )


def case(patient: str, study: str, *, side: str = "", **more: str) -> CaseCandidate:
    one = series(patient, study, **more)
    return CaseCandidate(f"{study or one.key}{side}", one.identity, (one,), side)


def join(
    folder: Path, text: str, *cases: CaseCandidate, refused: tuple[Series, ...] = (), **settings: object
) -> Joined:
    path = folder / "labels.csv"
    path.write_text(text, encoding="utf-8")
    labels = LabelSettings.model_validate({"file": path} | settings)
    table = load_labels(labels)
    columns = find_columns(labels, table)
    contents = [row.cells["lesion"] for row in table.rows]
    return join_labels(labels, table, columns, cases, contents=contents, refused=refused, root=ROOT)


def labels_of(joined: Joined) -> dict[str, str]:
    return {key: row.cells["lesion"] for key, row in joined.rows.items()}


def damages(joined: Joined) -> list[tuple[int, Damage]]:
    return [(problem.line, problem.damage) for problem in joined.problems]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("PatientID", "007"),
        ("patient_id", "007"),
        ("Patient ID", "007"),
        ("StudyInstanceUID", "1.2"),
        ("Study Instance UID", "1.2"),
        ("SeriesInstanceUID", "1.2.1"),
        ("AccessionNumber", "A1"),
        ("accession_number", "A1"),
        ("path", "007/1.2/1"),
        ("File", "007\\1.2"),
        ("file_path", "./007/"),
        ("path", "/scans/007/1.2/1"),
    ],
)
def test_any_identifier_joins_under_its_usual_spellings(tmp_path: Path, header: str, value: str) -> None:
    joined = join(
        tmp_path,
        f"{header},lesion\n{value},yes\n",
        case("007", "1.2", accession="A1"),
        case("7", "1.3", accession="A2"),
    )
    assert labels_of(joined) == {"1.2": "yes"} and joined.ambiguous == {} and joined.unmatched == 0


@pytest.mark.parametrize("written", [r"gr\xF6\xDFe/1", r"gr\xF6\xDFe", "größe/1", "/scans/größe"])
def test_a_name_that_is_no_utf8_joins_as_our_tables_and_as_spreadsheets_show_it(tmp_path: Path, written: str) -> None:
    name = os.fsdecode("größe/1".encode("cp1252"))
    joined = join(tmp_path, f"path,lesion\n{written},yes\n", case("1", "1.2", path=name), case("2", "1.3"))
    assert labels_of(joined) == {"1.2": "yes"} and joined.unmatched == 0


def test_an_exact_name_goes_before_the_same_in_another_encoding(tmp_path: Path) -> None:
    odd = os.fsdecode("größe/1".encode("cp1252"))
    joined = join(tmp_path, "path,lesion\ngröße,yes\n", case("1", "1.2", path=odd), case("2", "1.3", path="größe/1"))
    assert labels_of(joined) == {"1.3": "yes"} and joined.ambiguous == {}


def test_the_beginning_of_an_odd_name_is_no_folder(tmp_path: Path) -> None:
    joined = join(tmp_path, "path,lesion\nM,yes\n", case("1", "1.2", path=os.fsdecode(b"M\xfcller/1")))
    assert labels_of(joined) == {} and joined.unmatched == 1


def test_an_absolute_path_joins_as_our_tables_spell_it(tmp_path: Path) -> None:
    joined = join(tmp_path, "path,lesion\n/scans/\\xE9/1,yes\n", case("1", "1.2", path=os.fsdecode(b"\xe9/1")))
    assert labels_of(joined) == {"1.2": "yes"}


def test_a_mapped_column_goes_before_spellings(tmp_path: Path) -> None:
    joined = join(tmp_path, "PatientID,nr,lesion\nx,007,yes\n", case("007", "1.2"), patient_column="nr")
    assert labels_of(joined) == {"1.2": "yes"}


def test_the_most_specific_identifier_decides(tmp_path: Path) -> None:
    text = "PatientID,StudyInstanceUID,lesion\n1,1.2,yes\n1,1.3,no\n"
    joined = join(tmp_path, text, case("1", "1.2"), case("1", "1.3"))
    assert labels_of(joined) == {"1.2": "yes", "1.3": "no"}


def test_a_row_about_a_study_that_was_not_delivered_is_not_given_to_another_of_the_patient(tmp_path: Path) -> None:
    joined = join(tmp_path, "PatientID,StudyInstanceUID,lesion\n1,1.9,yes\n", case("1", "1.2"))
    assert labels_of(joined) == {} and damages(joined) == [(2, Damage.NO_SCAN)] and joined.unmatched == 1


def test_a_patients_row_that_fits_two_studies_is_ambiguous(tmp_path: Path) -> None:
    joined = join(tmp_path, "PatientID,lesion\n1,yes\n2,no\n", case("1", "1.2"), case("1", "1.3"), case("2", "1.4"))
    assert labels_of(joined) == {"1.4": "no"}
    assert set(joined.ambiguous) == {"1.2", "1.3"} and "line 2" in joined.ambiguous["1.2"]
    assert "2 studies" in joined.ambiguous["1.2"]


def test_a_refused_study_makes_its_patients_row_ambiguous_too(tmp_path: Path) -> None:
    text = "PatientID,lesion\n1,yes\n"
    refused = series("1", "1.3")
    assert set(join(tmp_path, text, case("1", "1.2"), refused=(refused,)).ambiguous) == {"1.2"}
    assert damages(join(tmp_path, text, case("2", "1.2"), refused=(refused,))) == [(2, Damage.SCAN_REFUSED)]


@pytest.mark.parametrize(
    ("rule", "day", "chosen"),
    [
        ("first", "", {"1.1"}),
        ("last", "", {"1.3"}),
        ("every", "", {"1.1", "1.2", "1.3"}),
        ("nearest", "2024-02-20", {"1.2"}),
        ("nearest", "20.03.2024", {"1.3"}),
        ("same_day", "20240301", {"1.2"}),
        ("same_day", "20240302", set()),
    ],
)
def test_date_rules(tmp_path: Path, rule: str, day: str, chosen: set[str]) -> None:
    cases = [case("1", f"1.{n}", date=date) for n, date in enumerate(("20240101", "20240301", "20240401"), start=1)]
    joined = join(tmp_path, f"PatientID,seen,lesion\n1,{day},yes\n", *cases, date_rule=rule, date_column="seen")
    assert set(joined.rows) == chosen and joined.ambiguous == {}
    assert set(joined.passed_over) == {"1.1", "1.2", "1.3"} - chosen
    assert all("line 2 of the label file is about another" in why for why in joined.passed_over.values())


def test_a_row_for_every_study_still_names_its_side_and_says_one_thing(tmp_path: Path) -> None:
    sides = [case("1", "1.1", side="L"), case("1", "1.1", side="R"), case("1", "1.2", side="L")]
    joined = join(tmp_path, "PatientID,lesion\n1,yes\n", *sides, date_rule="every")
    assert "which side" in next(iter(joined.ambiguous.values())) and not joined.rows
    one_each = [case("1", "1.1", side="L"), case("1", "1.2", side="R")]
    assert len(join(tmp_path, "PatientID,lesion\n1,yes\n", *one_each, date_rule="every").rows) == 2
    of_left = "PatientID,laterality,lesion\n1,L,yes\n"
    assert len(join(tmp_path, of_left, case("1", "1.1", side="L"), case("1", "1.2"), date_rule="every").rows) == 2
    unclear = join(tmp_path, of_left, case("1", "1.1", side="L"), case("1", "1.1"), date_rule="every")
    assert all("says which it shows" in why for why in unclear.ambiguous.values()) and len(unclear.ambiguous) == 2
    with pytest.raises(LabelFileError, match=r"the same id with different labels.*name the study\.$"):
        join(tmp_path, "PatientID,lesion\n1,yes\n1,no\n", case("1", "1.1"), case("1", "1.2"), date_rule="every")


def test_a_date_rule_that_cannot_decide_leaves_the_cases_ambiguous(tmp_path: Path) -> None:
    text, settings = "PatientID,seen,lesion\n1,2024-02-15,yes\n", {"date_column": "seen"}
    same = [case("1", "1.1", date="20240101"), case("1", "1.2", date="20240101")]
    assert set(join(tmp_path, text, *same, date_rule="first", **settings).ambiguous) == {"1.1", "1.2"}
    undated = [case("1", "1.1", date="20240101"), case("1", "1.2")]
    assert set(join(tmp_path, text, *undated, date_rule="last", **settings).ambiguous) == {"1.1", "1.2"}
    even = [case("1", "1.1", date="20240214"), case("1", "1.2", date="20240216")]
    assert set(join(tmp_path, text, *even, date_rule="nearest", **settings).ambiguous) == {"1.1", "1.2"}


def test_rows_of_two_visits_go_to_their_own_study(tmp_path: Path) -> None:
    text = "PatientID,seen,lesion\n1,2024-01-02,yes\n1,2024-03-02,no\n"
    cases = [case("1", "1.1", date="20240101"), case("1", "1.2", date="20240301")]
    joined = join(tmp_path, text, *cases, date_rule="nearest", date_column="seen")
    assert labels_of(joined) == {"1.1": "yes", "1.2": "no"}


def test_dates_with_slashes_need_a_format(tmp_path: Path) -> None:
    text = "PatientID,seen,lesion\n1,03/01/2024,yes\n"
    cases = [case("1", "1.1", date="20240103"), case("1", "1.2", date="20240301")]
    settings = {"date_rule": "same_day", "date_column": "seen"}
    with pytest.raises(LabelFileError, match=r"column seen, line 2.*date_format"):
        join(tmp_path, text, *cases, **settings)
    assert set(join(tmp_path, text, *cases, date_format="%d/%m/%Y", **settings).rows) == {"1.1"}


def test_a_repeated_row_counts_once_and_a_contradiction_stops(tmp_path: Path) -> None:
    joined = join(tmp_path, "PatientID,lesion\n1,yes\n2,no\n1,yes\n", case("1", "1.2"), case("2", "1.3"))
    assert labels_of(joined) == {"1.2": "yes", "1.3": "no"}
    assert "line 4" in joined.notes[0]
    with pytest.raises(LabelFileError, match="column PatientID, lines 2, 4"):
        join(tmp_path, "PatientID,lesion\n1,yes\n2,no\n1,no\n", case("2", "1.3"))


def test_rows_of_several_series_that_disagree_about_a_case(tmp_path: Path) -> None:
    both = (series("1", "1.2", uid="1.2.1", path="a"), series("1", "1.2", uid="1.2.2", path="b"))
    one = CaseCandidate("1.2", both[0].identity, both)
    text = "SeriesInstanceUID,lesion\n1.2.1,yes\n1.2.2,{}\n"
    assert labels_of(join(tmp_path, text.format("yes"), one)) == {"1.2": "yes"}
    assert "lines 2, 3" in join(tmp_path, text.format("no"), one).ambiguous["1.2"]


def test_sides_need_a_column(tmp_path: Path) -> None:
    cases = [case("1", "1.2", side="L"), case("1", "1.2", side="R", path="r")]
    assert set(join(tmp_path, "StudyInstanceUID,lesion\n1.2,yes\n", *cases).ambiguous) == {"1.2L", "1.2R"}
    text = "StudyInstanceUID,Laterality,lesion\n1.2,left,yes\n1.2,R,no\n"
    assert labels_of(join(tmp_path, text, *cases)) == {"1.2L": "yes", "1.2R": "no"}


@pytest.mark.parametrize(
    "words", ["RT/LT", "OD/OS", "Rechts/Links", "Right breast/left breast", "droite/gauche", "R./L"]
)
def test_a_side_is_understood_in_the_words_of_the_clinics(tmp_path: Path, words: str) -> None:
    right, left = words.split("/")
    only_left = case("1", "1.2", side="L", laterality="L")
    joined = join(tmp_path, f"StudyInstanceUID,Laterality,lesion\n1.2,{right},yes\n1.2,{left},no\n", only_left)
    assert labels_of(joined) == {"1.2L": "no"} and damages(joined) == [(2, Damage.OTHER_SIDE)]
    assert joined.unmatched == 1 and joined.ambiguous == {}


@pytest.mark.parametrize("word", ["D", "upper", "left and right", "n/a", "Meier^Anna"])
def test_a_word_that_is_no_side_stops_and_is_not_repeated(tmp_path: Path, word: str) -> None:
    text = f"StudyInstanceUID,side,lesion\n1.2,,yes\n1.3,U,yes\n1.4,{word},no\n"
    cases = [case("1", "1.2"), case("1", "1.3"), case("1", "1.4")]
    with pytest.raises(LabelFileError, match=r"labels\.csv, column side, line 4: no side such as L, R or B") as raised:
        join(tmp_path, text, *cases)
    assert word == "D" or word not in str(raised.value)
    assert len(join(tmp_path, text, *cases, unknown=(word.upper(),)).rows) == 3


@pytest.mark.parametrize(("side", "header", "joins"), [
    ("R", "L", False), ("R", "R", True), ("R", "", True), ("", "L", True), ("R", "U", True), ("R", "B", False),
    ("OU", "B", True), ("OU", "L", False), ("R", "right", True),
])  # fmt: skip
def test_a_row_goes_to_no_scan_whose_header_says_another_side(
    tmp_path: Path, side: str, header: str, joins: bool
) -> None:
    joined = join(tmp_path, f"PatientID,side,lesion\n1,{side},yes\n", case("1", "1.2", laterality=header))
    assert labels_of(joined) == ({"1.2": "yes"} if joins else {})
    assert damages(joined) == ([] if joins else [(2, Damage.OTHER_SIDE)])
    if not joins:
        (line,) = summary("labels.csv", joined.problems)
        assert "labels.csv, column PatientID, line 2: the scans that the row names are of another side" in line


def test_each_eye_of_a_study_gets_its_own_row_and_a_row_without_a_side_is_about_both(tmp_path: Path) -> None:
    eyes = [series("1", "1.2", uid=f"1.2.{side}", laterality=side) for side in "LR"]
    cases = [CaseCandidate(eye.key, eye.identity, (eye,)) for eye in eyes]
    rows = join(tmp_path, "PatientID,side,lesion\n1,OD,yes\n1,OS,no\n", *cases)
    assert labels_of(rows) == {"1.2.L": "no", "1.2.R": "yes"} and rows.ambiguous == {}
    assert set(join(tmp_path, "PatientID,side,lesion\n1,,yes\n", *cases).rows) == {"1.2.L", "1.2.R"}


def test_a_studys_row_is_about_each_of_its_series(tmp_path: Path) -> None:
    cases = [
        CaseCandidate(one.key, one.identity, (one,))
        for one in (series("1", "1.2", uid="a"), series("1", "1.2", uid="b"))
    ]
    assert set(join(tmp_path, "PatientID,lesion\n1,yes\n", *cases).rows) == {"a", "b"}


@pytest.mark.parametrize(
    ("scan", "label", "damage"),
    [
        ("0012345", "12345", Damage.LEADING_ZEROS),
        ("12345", "0012345", Damage.LEADING_ZEROS),
        ("1200000000000345", "1.2E+15", Damage.ROUNDED),
        ("1200000000000345", '"1,2E+15"', Damage.ROUNDED),
        ("12345", "12345.0", Damage.DECIMAL),
        ("0012345", "12345.0", Damage.DECIMAL),
        ("AB12", "AB12 ", Damage.BLANKS),
        ("AB12", "AB12\u00a0", Damage.BLANKS),
        ("AB12", "\u200bAB12", Damage.BLANKS),
        ("AB12", "ab12", Damage.CASE),
        ("M\u00fcller7", "Mu\u0308ller7", Damage.ACCENTS),
        ("Mu\u0308ller7", "M\u00fcller7", Damage.ACCENTS),
        ("M\u00fcller7", "mu\u0308ller7", Damage.CASE),
        ("AB12", "AB13", Damage.NO_SCAN),
    ],
)
def test_damage_is_listed_and_not_mended(tmp_path: Path, scan: str, label: str, damage: Damage) -> None:
    joined = join(tmp_path, f"PatientID,lesion\n{label},yes\n", case(scan, "1.2"))
    assert labels_of(joined) == {} and joined.unmatched == 1
    assert damages(joined) == [(2, damage)]
    (line,) = summary("labels.csv", joined.problems)
    assert "labels.csv, column PatientID, line 2" in line
    assert scan not in line and label.strip('"') not in line


def test_an_id_that_two_patients_differ_in_by_zeros_is_doubted(tmp_path: Path) -> None:
    joined = join(tmp_path, "PatientID,lesion\n7,yes\n", case("7", "1.2"), case("007", "1.3"))
    assert labels_of(joined) == {"1.2": "yes"} and damages(joined) == [(2, Damage.LEADING_ZEROS)]


def test_whole_ids_raise_no_suspicion() -> None:
    known = KnownIds(["0012345", "AB 12", "1.2.840.10008", "1.0"])
    assert [known.damage(one) for one in (*sorted(known.exact), "99", "1.2.840")] == [None] * 6


def test_a_scan_of_another_patient_than_the_row_says_is_refused(tmp_path: Path) -> None:
    text = "PatientID,StudyInstanceUID,lesion\n1,1.2,yes\n2,1.3,no\n9,1.4,no\n"
    cases = [case("1", "1.2"), case("2", "1.3"), case("3", "1.4")]
    joined = join(tmp_path, text, *cases)
    assert labels_of(joined) == {"1.2": "yes", "1.3": "no"}
    assert damages(joined) == [(4, Damage.OTHER_PATIENT)] and "another patient" in joined.ambiguous["1.4"]


@pytest.mark.parametrize("written", ["{}", "00{}"])
def test_columns_that_were_sorted_apart_contradict_every_scan(tmp_path: Path, written: str) -> None:
    rows = "".join(f"{written.format((n + 1) % 6 + 1)},A{n},yes\n" for n in range(6))
    cases = [case(str(n + 1), f"1.{n}", accession=f"A{n}") for n in range(6)]
    joined = join(tmp_path, f"PatientID,AccessionNumber,lesion\n{rows}", *cases)
    assert joined.rows == {} and set(joined.ambiguous) == {f"1.{n}" for n in range(6)}
    assert damages(joined) == [(line, Damage.OTHER_PATIENT) for line in range(2, 8)] and joined.notes == ()


def test_a_column_of_study_numbers_is_no_contradiction(tmp_path: Path) -> None:
    text = "subject,StudyInstanceUID,lesion\ns1,1.2,yes\ns2,1.3,no\n"
    joined = join(tmp_path, text, case("1", "1.2"), case("2", "1.3"))
    assert len(joined.rows) == 2 and "nowhere the PatientID" in joined.notes[0]


def test_lost_zeros_beside_a_study_uid_are_listed_and_harmless(tmp_path: Path) -> None:
    text = "PatientID,StudyInstanceUID,lesion\n1,1.2,yes\n2,1.3,no\n"
    joined = join(tmp_path, text, case("001", "1.2"), case("002", "1.3"))
    assert len(joined.rows) == 2 and damages(joined) == [(2, Damage.LEADING_ZEROS), (3, Damage.LEADING_ZEROS)]


def test_a_column_of_other_files_is_not_used_unless_it_was_mapped(tmp_path: Path) -> None:
    text = "file,PatientID,lesion\nreport1.pdf,1,yes\n"
    joined = join(tmp_path, text, case("1", "1.2"))
    assert labels_of(joined) == {"1.2": "yes"} and "column file matches no scan" in joined.notes[0]
    assert labels_of(join(tmp_path, text, case("1", "1.2"), path_column="file")) == {}


def test_files_without_identity_join_by_path(tmp_path: Path) -> None:
    text = "path,patient_id,lesion\na.nii.gz,p1,yes\nb.nii.gz,p2,no\n"
    joined = join(tmp_path, text, case("", "", path="a.nii.gz"), case("", "", path="b.nii.gz"))
    assert labels_of(joined) == {"a.nii.gz": "yes", "b.nii.gz": "no"} and joined.problems == ()


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("PatientID,patient_id,lesion\n1,1,yes\n", {}, r"PatientID or patient_id could be the patient"),
        ("name,lesion\n1,yes\n", {}, "no column that names a scan; it has name, lesion"),
        ("PatientID,lesion\n1,yes\n", {"study_column": "uid"}, r"labels\.study_column.*no column 'uid'"),
        ("PatientID,lesion\n1,yes\n", {"covariates": {"who": "PatientID"}}, "must not stand in a manifest"),
    ],
)
def test_columns_that_cannot_be_told(tmp_path: Path, text: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(LabelFileError, match=message):
        join(tmp_path, text, case("1", "1.2"), **settings)


def test_no_row_is_looked_for_among_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compared(*_: object) -> bool:
        raise AssertionError("rows of a large file are compared with each other")

    monkeypatch.setattr(LabelRow, "__eq__", compared)
    text = "".join(f"{n},p{n + 1 if n else 0},yes\n" for n in range(9))
    cases = [case(f"p{n}", str(n)) for n in range(9)]
    joined = join(tmp_path, f"study_uid,patient_id,lesion\n{text}", *cases)
    assert sorted(joined.ambiguous) == [str(n) for n in range(1, 9)] and list(joined.numbers.values()) == [0]


def test_a_folder_of_files_that_say_no_patient_is_named_by_a_column_of_paths_alone(tmp_path: Path) -> None:
    text = "participant_id,lesion\nsub-01,yes\nsub-02,no\n"
    t1 = [case("", "", path=f"sub-{n:02d}/anat/sub-{n:02d}_T1w.nii.gz") for n in (1, 2)]
    guessed = join(tmp_path, text, *t1)
    assert guessed.rows == {} and damages(guessed) == [(2, Damage.FOLDER), (3, Damage.FOLDER)]
    (line,) = summary("labels.csv", guessed.problems)
    assert "labels.path_column" in line and "sub-01" not in line
    joined = join(tmp_path, text, *t1, path_column="participant_id")
    assert list(labels_of(joined).values()) == ["yes", "no"] and joined.problems == ()
    t2 = case("", "", path="sub-01/anat/sub-01_T2w.nii.gz")
    several = join(tmp_path, text, *t1, t2, path_column="participant_id")
    assert set(several.ambiguous) == {t1[0].unit_key, t2.unit_key}
    assert "line 2 of the label file belongs to 2 files, each a study" in several.ambiguous[t2.unit_key]
