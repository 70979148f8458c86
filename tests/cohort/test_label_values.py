"""What words in a label file mean."""

from pathlib import Path

import pytest

from pipeline.cohort.label_file import LabelTable, load_labels
from pipeline.cohort.label_settings import FindingColumn, LabelSettings
from pipeline.cohort.label_sheet import read_sheet
from pipeline.cohort.label_values import read_finding, yes_no_findings
from pipeline.config import Settings
from pipeline.domain.case import UNKNOWN, Case, CaseSeries
from pipeline.domain.finding import Finding
from pipeline.errors import ConfigError, LabelFileError


def table_of(folder: Path, words: list[str], column: str = "x") -> LabelTable:
    path = folder / "labels.csv"
    path.write_text("\n".join([f"id\t{column}", *(f"{n}\t{word}" for n, word in enumerate(words))]) + "\n")
    return load_labels(LabelSettings(file=path, delimiter="\t"))


def finding(**settings: object) -> FindingColumn:
    return FindingColumn.from_mapping({"name": "x"} | settings)


def encoded(label: str | None, of: Finding) -> tuple[int, ...]:
    series = CaseSeries(
        series="S", reader="nifti", modality="CT", shape=(1, 1, 1), spacing=(1, 1, 1), unit="mm", plane="axial",
        channels=1, digest="d",
    )  # fmt: skip
    labels = {} if label is None else {of.name: label}
    return Case(case="C", patient="P", study="T", series=(series,), labels=labels).encoded_label(of)


@pytest.mark.parametrize(
    ("positive", "words", "classes", "labels"),
    [
        ("yes", ["yes", "no", ""], ("no", "yes"), ("yes", "no", None)),
        ("yes", ["Yes", "NO", " yes "], ("NO", "yes"), ("yes", "NO", "yes")),
        ("yes", ["1", "0", "TRUE", "neg"], ("no", "yes"), ("yes", "no", "yes", "no")),
        ("Yes", ["1", "0"], ("No", "Yes"), ("Yes", "No")),
        (1, ["1", "0", "1"], ("0", "1"), ("1", "0", "1")),
        (True, ["yes", "no"], ("no", "yes"), ("yes", "no")),
        ("malignant", ["malignant", "benign"], ("benign", "malignant"), ("malignant", "benign")),
        ("malignant", ["1", "0"], ("0", "malignant"), ("malignant", "0")),
        ("sick", ["sick", "well"], ("well", "sick"), ("sick", "well")),
        ("no", ["yes", "no"], ("yes", "no"), ("yes", "no")),
    ],
)
def test_binary(
    tmp_path: Path, positive: object, words: list[str], classes: tuple[str, str], labels: tuple[str | None, ...]
) -> None:
    read = read_finding(finding(positive=positive), table_of(tmp_path, words))
    assert read.finding.classes == classes and read.finding.positive == classes[1]
    assert read.labels == labels


def test_a_blank_is_unknown_and_never_negative(tmp_path: Path) -> None:
    read = read_finding(finding(positive="yes"), table_of(tmp_path, ["yes", "", "no", "  "]))
    assert [encoded(label, read.finding) for label in read.labels] == [(1,), (UNKNOWN,), (0,), (UNKNOWN,)]


def test_words_for_unknown_are_those_that_were_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["yes", "NA", "no"])
    with pytest.raises(LabelFileError, match=r"column x, line 3: not one of no, yes\. .*labels\.unknown"):
        read_finding(finding(positive="yes"), table)
    assert read_finding(finding(positive="yes"), table, ["na"]).labels == ("yes", None, "no")


def test_a_strange_word_stops_by_line_and_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match="column x, lines 4, 5") as raised:
        read_finding(finding(positive="yes"), table_of(tmp_path, ["yes", "no", "Meier^Anna", "maybe"]))
    assert "Meier" not in str(raised.value) and "maybe" not in str(raised.value)


def test_a_mapping_goes_before_synonyms(tmp_path: Path) -> None:
    settings = finding(positive="yes", values={0: "yes", "BI-RADS 2": "no"})
    read = read_finding(settings, table_of(tmp_path, ["0", "BI-RADS 2", "1"]))
    assert read.labels == ("yes", "no", "yes")


def test_classes_name_the_pair_in_any_order(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["A", "B", "1"])
    assert read_finding(finding(classes=("A", "B")), table).labels == ("A", "B", "B")
    assert read_finding(finding(classes=("B", "A"), positive="B"), table).finding.classes == ("A", "B")


@pytest.mark.parametrize("words", [["yes", "yes", ""], ["no", "0"], ["", " "]])
def test_one_class_only_stops_with_the_column(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(LabelFileError, match="column x: holds"):
        read_finding(finding(positive="yes"), table_of(tmp_path, words))


def test_several_negatives_need_a_mapping(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match="several words"):
        read_finding(finding(positive="cancer"), table_of(tmp_path, ["cancer", "cyst", "fat"]))


def test_multiclass_takes_what_the_column_holds(tmp_path: Path) -> None:
    read = read_finding(finding(kind="multiclass"), table_of(tmp_path, ["b", "a", "c", ""]))
    assert read.finding.classes == ("a", "b", "c") and read.labels == ("b", "a", "c", None)
    named = read_finding(finding(kind="multiclass", classes=["c", "b", "a"]), table_of(tmp_path, ["B", "a", "c"]))
    assert named.finding.classes == ("c", "b", "a") and named.labels == ("b", "a", "c")


NOT_KNOWN = ["NA", "n/a", "NaN", "unknown", "Unknown", "?", "-", "--", "#N/A", "#REF!", "NULL", "<NA>", "unbekannt"]


@pytest.mark.parametrize("word", NOT_KNOWN)
def test_a_word_for_what_is_not_known_is_no_class_unless_the_settings_say_so(tmp_path: Path, word: str) -> None:
    table = table_of(tmp_path, ["mild", word, "none", "severe", word])
    with pytest.raises(LabelFileError, match=r"column x, lines 3, 6: .* would be a class.*labels\.unknown.*`classes`"):
        read_finding(finding(kind="multiclass"), table)
    left_out = read_finding(finding(kind="multiclass"), table, [word])
    assert left_out.finding.classes == ("mild", "none", "severe") and left_out.labels[1] is None
    named = read_finding(finding(kind="multiclass", classes=["none", "mild", "severe", word]), table)
    assert named.labels == ("mild", word, "none", "severe", word)
    mapped = read_finding(finding(kind="multiclass", values={word.lower(): "not seen"}), table)
    assert mapped.finding.classes == ("mild", "none", "not seen", "severe") and mapped.labels[1] == "not seen"


@pytest.mark.parametrize("word", NOT_KNOWN)
def test_a_word_for_what_is_not_known_is_never_the_negative_class(tmp_path: Path, word: str) -> None:
    table = table_of(tmp_path, ["tumour", word, "Tumour"])
    with pytest.raises(LabelFileError, match=r"column x, line 3: .* would be a class.*labels\.unknown"):
        read_finding(finding(positive="tumour"), table)
    with pytest.raises(LabelFileError, match=r"column x, line 3: .* would be a class"):
        read_finding(finding(positive="tumour"), table_of(tmp_path, ["tumour", word, "cyst"]))
    assert read_finding(finding(positive="tumour", classes=[word, "tumour"]), table).labels[1] == word
    assert read_finding(finding(positive="tumour", values={word: "other"}), table).labels[1] == "other"
    clear = table_of(tmp_path, ["tumour", word, "cyst"])
    assert read_finding(finding(positive="tumour"), clear, [word]).labels == ("tumour", None, "cyst")


def test_a_minus_is_the_opposite_of_a_plus(tmp_path: Path) -> None:
    assert read_finding(finding(positive="+"), table_of(tmp_path, ["+", "-"])).labels == ("+", "-")


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["Benign", "malignant", "benign", "Benign"], "line 4"),
        (["1", "1.0", "2", "2.0", "10", "1", "2"], "lines 3, 5"),
        (["BI-RADS 2", "BI-RADS  2", "BI-RADS\u00a02", "BI-RADS 2", "cyst"], "lines 3, 4"),
    ],
)
@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_spellings_of_one_word_are_no_classes_of_their_own(
    tmp_path: Path, words: list[str], lines: str, kind: str
) -> None:
    with pytest.raises(LabelFileError, match=f"column x, {lines}: a class that differs from one of other") as raised:
        read_finding(finding(kind=kind), table_of(tmp_path, words))
    assert not any(word in str(raised.value) for word in words if word.isalpha())


def test_classes_that_differ_in_case_stand_where_they_are_named(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["AA", "Aa", "aa"])
    assert read_finding(finding(kind="multiclass", classes=["aa", "Aa", "AA"]), table).labels == ("AA", "Aa", "aa")
    alike = {"1.0": "1", "2.0": "2"}
    read = read_finding(finding(kind="multiclass", values=alike), table_of(tmp_path, ["1", "1.0", "2.0", "2"]))
    assert read.finding.classes == ("1", "2") and read.labels == ("1", "1", "2", "2")


def test_none_is_no_class_among_several(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["edema|mass", "None", "mass", "no"])
    with pytest.raises(LabelFileError, match=r"column x, line 3: 'None' would be a class.*`values`"):
        read_finding(finding(kind="multilabel"), table)
    assert read_finding(finding(kind="multilabel", values={"none": ""}), table).labels == ("edema|mass", "", "mass", "")


def test_ordinal_keeps_the_order_and_numbers_stay_words(tmp_path: Path) -> None:
    read = read_finding(finding(kind="ordinal", classes=[2, 10, 30]), table_of(tmp_path, ["10", "2", "30"]))
    assert [encoded(label, read.finding) for label in read.labels] == [(1,), (0,), (2,)]
    with pytest.raises(LabelFileError, match="line 2: not one of a, b"):
        read_finding(finding(kind="ordinal", classes=["a", "b"]), table_of(tmp_path, ["c", "a", "b"]))


def test_multilabel_in_one_column(tmp_path: Path) -> None:
    words = ["edema|mass", "mass; edema", "mass", "no", "", "No Finding"]
    settings = finding(kind="multilabel", values={"No Finding": ""})
    read = read_finding(settings, table_of(tmp_path, words))
    assert read.finding.classes == ("edema", "mass")
    assert read.labels == ("edema|mass", "edema|mass", "mass", "", None, "")
    assert [encoded(label, read.finding) for label in read.labels[2:5]] == [(0, 1), (0, 0), (UNKNOWN, UNKNOWN)]
    with pytest.raises(LabelFileError, match="line 2"):
        read_finding(settings, table_of(tmp_path, ["mass|no", "mass", "edema"]))


def test_multilabel_with_a_column_a_class(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,e,m\n1,yes,1\n2,no,\n3,,0\n4,,\n")
    settings = finding(kind="multilabel", columns={"edema": "e", "mass": "m"})
    read = read_finding(settings, load_labels(LabelSettings(file=path)))
    assert read.labels == ("edema|mass", "?mass", "?edema", None)
    assert [encoded(label, read.finding) for label in read.labels] == [(1, 1), (0, -1), (-1, 0), (-1, -1)]


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "binary"},
        {"kind": "ordinal"},
        {"kind": "binary", "positive": "c", "classes": ["a", "b"]},
        {"kind": "multilabel", "classes": ["a|b"]},
        {"kind": "multiclass", "classes": ["a", "b"], "values": {"1": "c"}},
        {"kind": "binary", "positive": "yes", "columns": {"a": "b"}},
        {"kind": "multiclass", "classes": ["a", ""]},
        {"kind": "multilabel", "columns": {"a": "b"}, "values": {"x": ""}},
        {"kind": "multilabel", "columns": {"a": "b"}, "values": {"x": "a"}},
    ],
)
def test_settings_that_contradict_themselves(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        finding(**settings)


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(LabelFileError, match="no column 'lesion'; it has id, x"):
        read_finding(finding(column="lesion", positive="yes"), table_of(tmp_path, ["yes", "no"]))


def test_columns_of_yes_and_no_are_found_where_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,lesion,age,always\n1,Yes,30,1\n2,no,1,1\n3,,0,1\n")
    table = load_labels(LabelSettings(file=path))
    (found,) = yes_no_findings(table, frozenset({"id"}))
    assert (found.name, found.positive, found.classes) == ("lesion", "Yes", ("no", "Yes"))
    with pytest.raises(LabelFileError, match="lesion, age, always"):
        yes_no_findings(table, frozenset({"id", "lesion"}))


def test_a_column_that_is_yes_and_no_but_for_what_is_not_known_says_how_to_go_on(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,lesion,grade\n1,yes,NA\n2,no,high\n3,NA,low\n4,?,low\n")
    table = load_labels(LabelSettings(file=path))
    with pytest.raises(LabelFileError, match=r"lesion holds '\?', 'NA' besides") as raised:
        yes_no_findings(table, frozenset({"id"}))
    assert raised.value.remedy.endswith("""give "labels.unknown=['?', 'NA']".""")
    (found,) = yes_no_findings(table, frozenset({"id"}), ["?", "NA"])
    assert found.name == "lesion"


def test_settings_are_written_and_read_back() -> None:
    class Holder(Settings):
        labels: LabelSettings

    labels = {"file": "a.csv", "findings": [{"name": "x", "positive": True}], "unknown": ["NA", 9]}
    holder = Holder.from_mapping({"labels": labels})
    assert holder.labels.findings[0].positive == "yes" and holder.labels.unknown == ("NA", "9")
    assert Holder.model_validate_json(holder.model_dump_json()) == holder


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "multiclass", "classes": ["a", "b"]},
        {"kind": "multiclass"},
        {"kind": "ordinal", "classes": ["a", "b"]},
        {"kind": "binary", "positive": "a"},
    ],
)
def test_no_class_is_a_meaning_in_multilabel_only(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"`values` gives \['n/a'\] no class.* labels\.unknown"):
        finding(**settings, values={"n/a": ""})
    assert finding(kind="multilabel", values={"n/a": ""}).values == {"n/a": ""}


def test_words_of_columns_mean_yes_or_no(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,e,m\n1,seen,clear\n2,clear,seen\n")
    settings = finding(
        kind="multilabel",
        classes=("edema", "mass"),
        columns={"edema": "e", "mass": "m"},
        values={"seen": "yes", "clear": "no"},
    )
    assert read_finding(settings, load_labels(LabelSettings(file=path))).labels == ("edema", "mass")


def test_findings_that_take_their_number_have_a_name_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,a b,finding_1,größe\n1,yes,no,yes\n2,no,yes,no\n")
    found = yes_no_findings(load_labels(LabelSettings(file=path)), frozenset({"id"}))
    assert {one.name: one.column for one in found} == {
        "finding_2": "a b",
        "finding_1": "finding_1",
        "finding_3": "größe",
    }


def test_findings_that_would_share_a_column_are_refused_before_a_scan_is_read(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("PatientID,a,b\n1,no,c\n2,b_p_c,d\n")
    findings = [{"name": "a", "kind": "multiclass"}, {"name": "a_p_b", "column": "b", "kind": "multiclass"}]
    settings = LabelSettings.model_validate({"file": tmp_path / "labels.csv", "findings": findings})
    with pytest.raises(LabelFileError, match=r"a and a_p_b would both have a column a_p_b_p_c.*another `name`"):
        read_sheet(settings)
