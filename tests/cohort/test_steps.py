"""Where files and series left: every one is counted once."""

from pathlib import Path

from pipeline.cohort.accounting import RefusedSeries, account
from pipeline.cohort.steps import Left
from pipeline.domain.codes import Code
from pipeline.domain.series import Discovery, Refusal, Series, SourceFile


def files(*names: str) -> tuple[SourceFile, ...]:
    return tuple(SourceFile(Path("/scans") / name, name, 1) for name in names)


def series(key: str, *names: str) -> Series:
    return Series("dicom", key, files(*names), "CT")


USED, BOTH = series("1", "a", "b", "c"), series("2", "d")
OTHER_STACK = series("2#1", "d", "e")
LOCALIZER, UNLABELLED = series("3", "f"), series("4", "g", "h")
BROKEN, ITS_SISTER = series("5", "i", "j", "k"), series("6", "l")
REFUSED = (
    RefusedSeries(OTHER_STACK, Code.GAP, "a gap", "read"),
    RefusedSeries(LOCALIZER, Code.NOT_SELECTED, "not wanted", "select"),
    RefusedSeries(UNLABELLED, Code.NO_LABEL, "no row", "label"),
    RefusedSeries(BROKEN, Code.BAD_PIXELS, "cut off", "decode", path="/scans/j"),
    RefusedSeries(ITS_SISTER, Code.INCOMPLETE, "another series of its case", "decode"),
)
SET_ASIDE = tuple(
    Refusal(file, code, "")
    for file, code in zip(files("m", "n", "o"), (Code.DUPLICATE, Code.NOT_AN_IMAGE, Code.DUPLICATE), strict=True)
)
FOUND = Discovery(Path("/scans"), (USED, BOTH, *(one.series for one in REFUSED)), SET_ASIDE)
ENDED = account(FOUND, {"1": "C1", "2": "C2"}, REFUSED, str)


def test_every_file_and_series_leaves_at_one_step() -> None:
    way = ENDED.steps
    assert way.unsorted == Left(3, 0, {"DUPLICATE": 2, "NOT_AN_IMAGE": 1})
    assert way.unchosen == Left(3, 2, {"NOT_SELECTED": 1, "NO_LABEL": 1})
    assert way.unread == Left(5, 3, {"BAD_PIXELS": 1, "GAP": 1, "INCOMPLETE": 1})
    assert (way.used_files, way.used_series) == (4, 2)
    assert way.found_files == ENDED.counts.inputs == 15
    assert way.found_series == len(FOUND.series) == 7


def test_a_file_that_one_series_leaves_unchosen_and_another_unread_is_counted_as_unread() -> None:
    unchosen, unread = series("1", "a", "b"), series("2", "b")
    found = Discovery(Path("/scans"), (unchosen, unread), ())
    refused = (RefusedSeries(unchosen, Code.NOT_SELECTED, "", "select"), RefusedSeries(unread, Code.GAP, "", "read"))
    way = account(found, {}, refused, str).steps
    assert (way.unchosen.files, way.unread.files, way.found_files) == (1, 1, 2)
