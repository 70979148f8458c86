"""The way from files to cases as a drawing: what was found, what left it where and why, what arrived.

The form is that of STARD's flow diagram (Bossuyt et al. 2015, *BMJ* 351:h5527).
"""

from collections import Counter
from dataclasses import dataclass

from pipeline.cohort.accounting import Account
from pipeline.cohort.tally import UNSPLIT, patients, splits_of
from pipeline.domain.manifest import Manifest
from pipeline.domain.series import Disposition

SHOWN_CODES = 6
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
    counts = account.counts
    assert counts.inputs == counts.used + counts.skipped + counts.rejected
    splits = splits_of(manifest)
    assert sum(map(len, splits.values())) == counts.cases == len(manifest.cases)
    series = sum(len(case.series) for case in manifest.cases)
    arrived = [
        (f"{_count(counts.inputs, 'file')} found",),
        (f"{_count(counts.inputs - counts.skipped, 'file')} of scans",),
        (f"{_count(counts.used, 'file')} used", f"in {series} series"),
        (_count(counts.cases, "case"), f"of {_count(patients(manifest.cases), 'patient')}"),
    ]
    left_behind = [_left(account, Disposition.SKIPPED), _left(account, Disposition.REJECTED), (), ()]
    boxes: list[Box] = []
    last: Box | None = None
    arrows: list[tuple[int, int, int, int]] = []
    y = 0
    for lines, leaving in zip(arrived, left_behind, strict=True):
        box = Box(0, y, BOX_WIDTH, lines)
        if last is not None:
            arrows.append((box.middle, last.bottom, box.middle, box.y))
        y = box.bottom + GAP
        boxes.append(box)
        if leaving:
            side = Box(WIDTH - SIDE_WIDTH, box.y, SIDE_WIDTH, leaving)
            boxes.append(side)
            arrows.append((box.width, box.y + box.height // 2, side.x, box.y + box.height // 2))
            y = max(y, side.bottom + GAP // 2)
        last = box
    assert last is not None
    named = {name: cases for name, cases in splits.items() if name != UNSPLIT}
    width = (WIDTH - GAP * (len(named) - 1)) // max(1, len(named))
    for number, (name, cases) in enumerate(named.items()):
        lines = (name, f"{_count(len(cases), 'case')} of {_count(patients(cases), 'patient')}")
        box = Box(number * (width + GAP), y, width, lines)
        boxes.append(box)
        arrows.append((last.middle, last.bottom, box.middle, box.y))
    return Flow(WIDTH, max(box.bottom for box in boxes), tuple(boxes), tuple(arrows))


def _left(account: Account, disposition: Disposition) -> tuple[str, ...]:
    """Lines of the files that were skipped, or rejected: how many, and why."""
    codes = Counter(row.code for row in account.files if row.disposition is disposition)
    if not codes:
        return ()
    order = sorted(codes, key=lambda code: (-codes[code], code))
    shown = [f"{codes[code]} x {code}" for code in order[:SHOWN_CODES]]
    if rest := order[SHOWN_CODES:]:
        shown.append(f"{sum(codes[code] for code in rest)} for {len(rest)} other reasons")
    return f"{_count(codes.total(), 'file')} {disposition}", *shown


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}s".replace(",", "\u2009")
