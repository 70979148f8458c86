"""The conservation law: every input file ends used, skipped or rejected, and the counts add up."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.cohort.file_row import SEPARATOR, FileRow
from pipeline.cohort.steps import Steps, steps
from pipeline.domain.cells import csv_text
from pipeline.domain.codes import EXPLANATIONS, SKIPS, Code
from pipeline.domain.manifest import Counts
from pipeline.domain.rejection import Rejection
from pipeline.domain.series import Discovery, Disposition, Series, SourceFile
from pipeline.errors import RejectedInput

REJECTION_COLUMNS = ("path", "sha256", "series", "code", "stage", "message", "remedy")
FILE_COLUMNS = tuple(FileRow.model_fields)


@dataclass(frozen=True, slots=True)
class RefusedSeries:
    """A series that became no case, or no part of one.

    Attributes
    ----------
    code : Code
        One in :data:`pipeline.domain.codes.SKIPS` skips its files, any other rejects them.
    path : str
        The guilty file, where one of several is; empty: the series as a whole.
    """

    series: Series
    code: Code
    message: str
    stage: str
    path: str = ""
    remedy: str = ""

    @classmethod
    def by(cls, series: Series, error: RejectedInput) -> "RefusedSeries":
        """Refuse a series for what reading it raised."""
        return cls(series, Code(error.code), error.message, error.stage, error.path, error.remedy)


@dataclass(frozen=True, slots=True)
class Account:
    """What became of a scan folder.

    Attributes
    ----------
    files : tuple of FileRow
        One for each input file, in the order of their relative paths.
    rejections : tuple of Rejection
        One for each rejected file, and one for a refused stack of a file that another case uses. Of a refused series
        one row tells the cause, on the guilty file (where none is known, on the first); its other files are INCOMPLETE.
        In the order of the files.
    counts : Counts
    steps : Steps
        Where on the way the files left.
    """

    files: tuple[FileRow, ...]
    rejections: tuple[Rejection, ...]
    counts: Counts
    steps: Steps


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What one refusal, of a file or of its series, means for one file."""

    code: Code
    message: str
    stage: str
    series: str
    remedy: str = ""

    @property
    def is_skip(self) -> bool:
        return self.code in SKIPS

    @property
    def rank(self) -> tuple[bool, bool]:
        """Of several verdicts on one file the lowest names its code: a rejection, and a cause of its own."""
        return self.is_skip, self.code is Code.INCOMPLETE


def account(
    discovery: Discovery,
    accepted: Mapping[str, str],
    refused: Sequence[RefusedSeries],
    series_name: Callable[[str], str],
) -> Account:
    """Say of each input file where it ended.

    A file of several stacks is used when one of them is; a refused stack keeps its row among the rejections.

    Parameters
    ----------
    accepted : mapping of str to str
        :attr:`Series.key` of each accepted series to the pseudonym of its case.
    refused : sequence of RefusedSeries
        Every other series of the discovery.
    series_name : callable
        Pseudonym of a raw series key: :meth:`Pseudonyms.series`.
    """
    keys = [series.key for series in discovery.series]
    assert sorted([*accepted, *(one.series.key for one in refused)]) == sorted(keys), "a series is not accounted for"
    files: dict[Path, SourceFile] = {refusal.file.path: refusal.file for refusal in discovery.refusals}
    verdicts: dict[Path, list[_Verdict]] = defaultdict(list)
    used: dict[Path, list[Series]] = defaultdict(list)
    for refusal in discovery.refusals:
        series = series_name(refusal.series) if refusal.series else ""
        verdicts[refusal.file.path].append(_Verdict(refusal.code, refusal.message, refusal.stage, series))
    for one in refused:
        for file, verdict in _verdicts(one, series_name(one.series.key)):
            verdicts[file.path].append(verdict)
    for entry in discovery.series:
        for file in entry.files:
            files[file.path] = file
            if entry.key in accepted:
                used[file.path].append(entry)
    rows: list[FileRow] = []
    rejections: list[Rejection] = []
    for file in sorted(files.values(), key=lambda file: file.relative):
        rows.append(_row(file, used[file.path], verdicts[file.path], accepted, series_name))
        rejections += _rejections(file, verdicts[file.path], is_used=bool(used[file.path]))
    left = steps(rows, discovery.series, ((one.series, one.stage, one.code) for one in refused))
    return Account(tuple(rows), tuple(rejections), _count(rows, len(set(accepted.values()))), left)


def files_text(rows: Iterable[FileRow]) -> str:
    """CSV of files, columns :data:`FILE_COLUMNS`."""
    return csv_text(FILE_COLUMNS, ([str(value) for _, value in row] for row in rows))


def rejections_text(rejections: Iterable[Rejection]) -> str:
    """CSV of rejections, columns :data:`REJECTION_COLUMNS`."""
    return csv_text(
        REJECTION_COLUMNS,
        ((one.path, one.sha256, one.series, one.code, one.stage, one.message, one.advice) for one in rejections),
    )


def files_by_code(account: Account) -> dict[str, int]:
    """Code to number of files that were skipped or rejected for it."""
    return dict(sorted(Counter(row.code for row in account.files if row.code).items()))


def refusal_lines(account: Account, table: Path) -> Iterator[str]:
    """Say at the end of a command what was rejected, how to mend it, and which table lists it; nothing if nothing was.

    Parameters
    ----------
    table : Path
        Where :func:`rejections_text` was written.
    """
    for code, count in sorted(Counter(one.code for one in account.rejections).items()):
        yield f"{count} x {code.value}: {EXPLANATIONS[code].remedy}"
    if account.rejections:
        yield f"Every refusal with its file and reason: {table}"


def _verdicts(one: RefusedSeries, series: str) -> Iterator[tuple[SourceFile, _Verdict]]:
    """Blame the guilty file (the first, where none is known); the others are INCOMPLETE."""
    guilty = one.path if one.path in {str(file.path) for file in one.series.files} else str(one.series.files[0].path)
    cause = _Verdict(one.code, one.message, one.stage, series, one.remedy)
    rest = _Verdict(Code.INCOMPLETE, f"its series is refused: {one.code}, {one.message}", one.stage, series)
    for file in one.series.files:
        yield file, cause if cause.is_skip or str(file.path) == guilty else rest


def _row(
    file: SourceFile,
    used: Sequence[Series],
    verdicts: Sequence[_Verdict],
    accepted: Mapping[str, str],
    series_name: Callable[[str], str],
) -> FileRow:
    if used:
        names, cases = [series_name(series.key) for series in used], [accepted[series.key] for series in used]
        return FileRow(
            path=str(file.path),
            sha256=file.sha256,
            disposition=Disposition.USED,
            series=_joined(names),
            case=_joined(cases),
        )
    worst = min(verdicts, key=lambda verdict: verdict.rank)
    return FileRow(
        path=str(file.path),
        sha256=file.sha256,
        disposition=Disposition.SKIPPED if worst.is_skip else Disposition.REJECTED,
        code=worst.code,
        series=_joined(verdict.series for verdict in verdicts if verdict.series),
    )


def _rejections(file: SourceFile, verdicts: Sequence[_Verdict], *, is_used: bool) -> Iterator[Rejection]:
    for verdict in verdicts:
        if verdict.is_skip or (is_used and verdict.code is Code.INCOMPLETE):
            continue
        yield Rejection(
            path=str(file.path),
            sha256=file.sha256,
            series=verdict.series,
            code=verdict.code,
            stage=verdict.stage,
            message=verdict.message,
            remedy=verdict.remedy,
        )


def _joined(names: Iterable[str]) -> str:
    return SEPARATOR.join(dict.fromkeys(names))


def _count(rows: Sequence[FileRow], cases: int) -> Counts:
    ended = [row.disposition for row in rows]
    return Counts(
        inputs=len(rows),
        used=ended.count(Disposition.USED),
        skipped=ended.count(Disposition.SKIPPED),
        rejected=ended.count(Disposition.REJECTED),
        cases=cases,
    )
