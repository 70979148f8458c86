"""The way from files to cases as a drawing: what was found, what left it where and why, what arrived.

The form is that of STARD's flow diagram (Bossuyt et al. 2015, *BMJ* 351:h5527).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.cohort.accounting import Account
from pipeline.cohort.steps import Left
from pipeline.cohort.tally import UNSPLIT, patients, splits_of
from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.manifest import Manifest

SHOWN_CODES = 8
"""Reasons that a box names; the rest is one line."""

LINE, MARGIN, GAP = 18, 12, 34
BOX_WIDTH, SIDE_WIDTH, WIDTH = 330, 300, 720


@dataclass(frozen=True, slots=True)
class Box:
    """A box of the drawing: its place in pixels and its lines, of which the first is the heading."""

    x: int
    y: int
    width: int
    lines: tuple[str, ...]

    @property
    def height(self) -> int:
        """Height in pixels."""
        return LINE * len(self.lines) + 2 * MARGIN - 4

    @property
    def middle(self) -> int:
        """Centre, from the left."""
        return self.x + self.width // 2

    @property
    def bottom(self) -> int:
        """Lower edge."""
        return self.y + self.height


@dataclass(frozen=True, slots=True)
class Flow:
    """Boxes and the arrows between them, ``(x, y, x, y)``."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    arrows: tuple[tuple[int, int, int, int], ...]


def flow(manifest: Manifest, account: Account) -> Flow:
    """Lay the drawing out. What leaves a box and what arrives in the next adds up to it."""
    boxes: list[Box] = []
    arrows: list[tuple[int, int, int, int]] = []
    last: Box | None = None
    y = beside = 0
    for lines, leaving in _way(manifest, account):
        box = Box(0, max(y, beside) if leaving else y, BOX_WIDTH, lines)
        if last is not None:
            arrows.append((box.middle, last.bottom, box.middle, box.y))
        boxes.append(box)
        if leaving:
            side = Box(WIDTH - SIDE_WIDTH, box.y, SIDE_WIDTH, leaving)
            boxes.append(side)
            level = box.y + min(box.height, side.height) // 2
            arrows.append((box.width, level, side.x, level))
            beside = side.bottom + GAP // 2
        y, last = box.bottom + GAP, box
    assert last is not None
    named = {name: cases for name, cases in splits_of(manifest).items() if name != UNSPLIT}
    width = (WIDTH - GAP * (len(named) - 1)) // max(1, len(named))
    for number, (name, cases) in enumerate(named.items()):
        lines = (name, f"{_count(len(cases), 'case')} of {_count(patients(cases), 'patient')}")
        box = Box(number * (width + GAP), y, width, lines)
        boxes.append(box)
        arrows.append((last.middle, last.bottom, box.middle, box.y))
    return Flow(WIDTH, max(box.bottom for box in boxes), tuple(boxes), tuple(arrows))


Lines = tuple[str, ...]


def _way(manifest: Manifest, account: Account) -> Iterator[tuple[Lines, Lines]]:
    """Lines of each box on the way, and of what leaves there."""
    way, counts = account.steps, account.counts
    assert way.found_files == counts.inputs and way.used_files == counts.used, "files are lost"
    assert way.used_series == sum(len(case.series) for case in manifest.cases), "series are lost"
    assert counts.cases == len(manifest.cases) == sum(map(len, splits_of(manifest).values())), "cases are lost"
    files, series = way.found_files - way.unsorted.files, way.found_series
    yield (
        (f"{_count(way.found_files, 'file')} found",),
        _left(f"{_count(way.unsorted.files, 'file')} in no series", way.unsorted),
    )
    yield (
        (f"{_series(series)} found", f"of {_count(files, 'file')}"),
        _left(f"{_series(way.unchosen.series)} not chosen, {_count(way.unchosen.files, 'file')}", way.unchosen),
    )
    yield (
        (f"{_series(series - way.unchosen.series)} chosen", f"of {_count(files - way.unchosen.files, 'file')}"),
        _left(f"{_series(way.unread.series)} refused, {_count(way.unread.files, 'file')}", way.unread),
    )
    yield (f"{_series(way.used_series)} used", f"of {_count(way.used_files, 'file')}"), ()
    yield (_count(counts.cases, "case"), f"of {_count(patients(manifest.cases), 'patient')}"), ()


def _left(heading: str, left: Left) -> Lines:
    """Lines of what left: how many, and why; none where nothing did."""
    if not left.by_code:
        return ()
    told = [
        f"{count} x {code}, {'skipped' if Code(code) in SKIPS else 'rejected'}" for code, count in left.by_code.items()
    ]
    shown = told[:SHOWN_CODES]
    if len(told) > SHOWN_CODES:
        rest = list(left.by_code.values())[SHOWN_CODES:]
        shown.append(f"{sum(rest)} for {_count(len(rest), 'other reason')}")
    return heading, *shown


def _series(number: int) -> str:
    return f"{number:,} series".replace(",", "\u2009")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s".replace(",", "\u2009")
