"""Where on the way files and series left: while files were sorted into series, chosen, or read."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.cohort.file_row import FileRow
from pipeline.domain.codes import Code
from pipeline.domain.series import Disposition, Series

CHOOSING = frozenset({"select", "label"})
"""Stages at which a series is left out by its header or for want of a label; at any other it was being read."""


@dataclass(frozen=True, slots=True)
class Left:
    """What left at one step.

    Attributes
    ----------
    files, series : int
        How many; no series is counted before files are sorted.
    by_code : dict of str to int
        Series of each code; before files are sorted: files.
    """

    files: int
    series: int
    by_code: dict[str, int]


@dataclass(frozen=True, slots=True)
class Steps:
    """The way of the files: ``found = unsorted + unchosen + unread + used``, and of the series that they form.

    Attributes
    ----------
    unsorted : Left
        Files that form no series: no images, copies, and those of stacks that are no volume.
    unchosen : Left
        Not selected, or without a label.
    unread : Left
        Chosen, but refused when they were read.
    used_files, used_series : int
    """

    unsorted: Left
    unchosen: Left
    unread: Left
    used_files: int
    used_series: int

    @property
    def found_files(self) -> int:
        """All input files."""
        return self.used_files + sum(one.files for one in (self.unsorted, self.unchosen, self.unread))

    @property
    def found_series(self) -> int:
        """All series that files were sorted into."""
        return self.used_series + self.unchosen.series + self.unread.series


def steps(rows: Sequence[FileRow], series: Sequence[Series], refused: Iterable[tuple[Series, str, Code]]) -> Steps:
    """Count what left at each step; a file of several stacks leaves with the one that came farthest.

    Parameters
    ----------
    rows : sequence of FileRow
        All input files.
    series : sequence of Series
        All that were found.
    refused : iterable of (Series, str, Code)
        Those of them that became no part of a case, with stage and code.
    """
    codes: dict[bool, list[str]] = {True: [], False: []}
    paths: dict[bool, set[str]] = {True: set(), False: set()}
    for one, stage, code in refused:
        is_choice = stage in CHOOSING
        codes[is_choice].append(code.value)
        paths[is_choice].update(str(file.path) for file in one.files)
    left = [row for row in rows if row.disposition is not Disposition.USED]
    unread = sum(row.path in paths[False] for row in left)
    only_unchosen = paths[True] - paths[False]
    unchosen = sum(row.path in only_unchosen for row in left)
    sorted_out = paths[True] | paths[False]
    unsorted = [row.code for row in left if row.path not in sorted_out]
    return Steps(
        unsorted=Left(len(unsorted), 0, _frequent_first(unsorted)),
        unchosen=Left(unchosen, len(codes[True]), _frequent_first(codes[True])),
        unread=Left(unread, len(codes[False]), _frequent_first(codes[False])),
        used_files=len(rows) - len(left),
        used_series=len(series) - len(codes[True]) - len(codes[False]),
    )


def _frequent_first(codes: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(codes).items(), key=lambda item: (-item[1], item[0])))
