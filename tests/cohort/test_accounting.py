"""Every input file in exactly one place, whatever became of its series."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.cohort.accounting import (
    Account,
    RefusedSeries,
    account,
    files_by_code,
    files_text,
    refusal_lines,
    rejections_text,
)
from pipeline.domain.cells import plain_cell, safe_cell, table_bytes, table_text
from pipeline.domain.codes import Code
from pipeline.domain.manifest import Counts
from pipeline.domain.series import Discovery, Refusal, Series, SourceFile
from pipeline.errors import RejectedInput

ROOT = Path("/scans")


def file(name: str) -> SourceFile:
    return SourceFile(ROOT / name, name, 10, f"sha-{name}")


def series(key: str, *names: str, stack: int = 0) -> Series:
    return Series("dicom", key, tuple(map(file, names)), "CT", stack)


def folder(*found: Series, refusals: tuple[Refusal, ...] = ()) -> Discovery:
    return Discovery(ROOT, found, refusals)


def pseudonym(raw: str) -> str:
    return f"S-{raw}"


def where(result: Account) -> dict[str, tuple[str, str]]:
    return {Path(row.path).name: (row.disposition.value, row.code) for row in result.files}


def test_every_file_ends_in_one_place_and_the_counts_add_up() -> None:
    good, bad, other = series("1", "a", "b"), series("2", "c", "d", "e"), series("3", "f")
    junk = Refusal(file("g"), Code.NOT_AN_IMAGE, "no image"), Refusal(file("h"), Code.CORRUPT, "damaged")
    refused = [
        RefusedSeries.by(bad, RejectedInput(Code.TRUNCATED, "ends early", path=str(ROOT / "d"))),
        RefusedSeries(other, Code.NOT_SELECTED, "not chosen", "select"),
    ]

    result = account(folder(good, bad, other, refusals=junk), {"1": "C1"}, refused, pseudonym)

    assert where(result) == {
        "a": ("used", ""),
        "b": ("used", ""),
        "c": ("rejected", "INCOMPLETE"),
        "d": ("rejected", "TRUNCATED"),
        "e": ("rejected", "INCOMPLETE"),
        "f": ("skipped", "NOT_SELECTED"),
        "g": ("skipped", "NOT_AN_IMAGE"),
        "h": ("rejected", "CORRUPT"),
    }
    assert result.counts == Counts(inputs=8, used=2, skipped=2, rejected=4, cases=1)
    assert [(Path(one.path).name, one.code.value, one.series, one.stage) for one in result.rejections] == [
        ("c", "INCOMPLETE", "S-2", "read"),
        ("d", "TRUNCATED", "S-2", "read"),
        ("e", "INCOMPLETE", "S-2", "read"),
        ("h", "CORRUPT", "", "discover"),
    ]
    assert result.rejections[0].message == "its series is refused: TRUNCATED, ends early"


def test_a_series_refused_as_a_whole_tells_its_cause_once() -> None:
    result = account(
        folder(series("1", "b", "a")), {}, [RefusedSeries(series("1", "b", "a"), Code.GAP, "5 mm", "read")], pseudonym
    )

    assert where(result) == {"a": ("rejected", "INCOMPLETE"), "b": ("rejected", "GAP")}


def test_a_file_of_which_one_stack_is_used_is_used_and_the_other_stack_keeps_its_row() -> None:
    first, second = series("1#0", "a", stack=0), series("1#1", "a", stack=1)
    refused = [RefusedSeries(second, Code.TILT, "tilted", "read")]

    result = account(folder(first, second), {"1#0": "C1"}, refused, pseudonym)

    assert where(result) == {"a": ("used", "")}
    assert (result.files[0].series, result.files[0].case) == ("S-1#0", "C1")
    assert [(one.code, one.series) for one in result.rejections] == [(Code.TILT, "S-1#1")]
    assert result.counts == Counts(inputs=1, used=1, skipped=0, rejected=0, cases=1)


def test_two_used_stacks_of_a_file_are_both_named() -> None:
    result = account(folder(series("1#0", "a"), series("1#1", "a", stack=1)), {"1#0": "C1", "1#1": "C1"}, [], pseudonym)

    assert (result.files[0].series, result.files[0].case) == ("S-1#0|S-1#1", "C1")
    assert result.counts.cases == 1


def test_of_several_verdicts_a_rejection_outweighs_a_skip() -> None:
    stacks = series("1#0", "a"), series("1#1", "a", stack=1)
    refused = [
        RefusedSeries(stacks[0], Code.NOT_SELECTED, "not chosen", "select"),
        RefusedSeries(stacks[1], Code.NOT_FINITE, "NaN", "read"),
    ]

    assert where(account(folder(*stacks), {}, refused, pseudonym)) == {"a": ("rejected", "NOT_FINITE")}


def test_a_series_that_nobody_decided_on_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="not accounted for"):
        account(folder(series("1", "a")), {}, [], pseudonym)


def test_counts_that_lose_a_file_cannot_be_made() -> None:
    with pytest.raises(ValidationError, match="files are lost"):
        Counts(inputs=3, used=1, skipped=0, rejected=1, cases=1)


def test_tables_escape_formulas_and_give_the_remedy_of_the_code() -> None:
    refusal = Refusal(file("a"), Code.GAP, "=1+1")
    result = account(folder(refusals=(refusal,)), {}, [], pseudonym)

    assert files_text(result.files).splitlines() == [
        "path,sha256,disposition,code,series,case",
        "/scans/a,sha-a,rejected,GAP,,",
    ]
    assert rejections_text(result.rejections).splitlines()[1] == (
        "/scans/a,sha-a,,GAP,discover,'=1+1,"
        '"Export the series again, complete, or have the gap interpolated: `read.mend.spacing`."'
    )


@pytest.mark.parametrize("text", ["=cmd", "'=cmd", "''-1", "+1", "-0.5", "@x", "\tx", "plain", "'quoted'", "", "＝1"])
def test_escaping_can_be_undone(text: str) -> None:
    assert plain_cell(safe_cell(text)) == text
    assert not safe_cell(text).startswith(("=", "+", "-", "@", "\t", "＝"))


def test_a_table_spells_a_file_name_that_is_no_utf8_and_gives_it_back() -> None:
    assert table_bytes(os.fsdecode(b"path\n/scans/gr\xf6\xdfe.dcm\n")) == b"path\n/scans/gr\\xF6\\xDFe.dcm\n"
    assert table_bytes("größe") == "größe".encode()
    for name in (b"gr\xf6\xdfe", b"a\\xE9", b"a\\\\x5C", b"\\x5Cx\xe9\\", b"\xc3", "ö\\x".encode(), b"C:\\x\\y"):
        written = table_bytes(os.fsdecode(name))
        assert os.fsencode(table_text(b"\xef\xbb\xbf" + written)) == name
        written.decode("utf-8", "strict")
    assert os.fsencode(table_text(b"gr\xf6")) == b"gr\xf6", "a table of an earlier version holds the bytes themselves"


def test_the_closing_lines_count_each_code_and_name_the_table() -> None:
    refusals = tuple(
        Refusal(file(name), code, "x") for name, code in (("a", Code.CORRUPT), ("b", Code.CORRUPT), ("c", Code.GAP))
    )
    ended = account(folder(refusals=(*refusals, Refusal(file("d"), Code.DICOMDIR, "x"))), {}, [], pseudonym)
    assert list(refusal_lines(ended, Path("out.csv"))) == [
        "2 x CORRUPT: Copy the file again.",
        "1 x GAP: Export the series again, complete, or have the gap interpolated: `read.mend.spacing`.",
        "Every refusal with its file and reason: out.csv",
    ]
    assert files_by_code(ended) == {"CORRUPT": 2, "DICOMDIR": 1, "GAP": 1}
    skips = account(folder(refusals=(Refusal(file("d"), Code.DICOMDIR, "x"),)), {}, [], pseudonym)
    assert list(refusal_lines(skips, Path("out.csv"))) == []
