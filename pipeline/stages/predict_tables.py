"""What a prediction leaves on disk and says at its end."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from pipeline import atomic
from pipeline.cohort.accounting import Account, RefusedSeries, account, files_text, refusal_lines, rejections_text
from pipeline.domain.cells import csv_text, table_bytes
from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.finding import Finding
from pipeline.domain.frozen import Frozen
from pipeline.domain.manifest import Counts
from pipeline.domain.prediction import EarlierStatus, Prediction, ScopeVerdict
from pipeline.domain.rejection import Rejection
from pipeline.domain.series import Discovery
from pipeline.ledger import CaseRefusal, Ledger
from pipeline.stages.predict_requests import Request, guilty_path
from pipeline.stages.predict_sharing import PASSING
from pipeline.writers.csv import Config as CsvConfig
from pipeline.writers.csv import text_rows
from pipeline.writers.jsonl import Config as JsonlConfig
from pipeline.writers.parquet import Config as ParquetConfig
from pipeline.writers.predictions import columns

WRITERS = (CsvConfig(), JsonlConfig(), ParquetConfig())
FILES, REJECTIONS, RETRY, SUMMARY = "files.csv", "rejections.csv", "retry.csv", "summary.json"
SUPERSEDED = "superseded.csv"


class Timings(Frozen):
    """How long cases took, in seconds, wherever in the past: reading, preparing and computing, waiting not counted."""

    cases: int = 0
    median: float | None = None
    longest: float | None = None


class Summary(Counts):
    """What ``summary.json`` holds: the counts in files, and what they were made with.

    Attributes
    ----------
    superseded : int
        Predictions of scans that have changed since; they stand in ``superseded.csv``.
    absent : int
        Predictions of scans that are no longer there, or no longer selected; they stand there, too.
    model : str
        Digest of the package.
    engine : dict of str to object
        Settings of the engine.
    decisions : dict of str to dict
        Finding to decided class to number of cases.
    scope : dict of str to int
        Verdict on how like the training data a scan is, to number of cases.
    codes : dict of str to int
        Code to number of skipped or rejected files.
    started, seconds, timings
        When the last pass began (UTC), how long it took, and how long each case: all that differs between two runs on
        the same folder.
    """

    superseded: int = 0
    absent: int = 0
    model: str
    engine: dict[str, object]
    decisions: dict[str, dict[str, int]]
    scope: dict[str, int] = {}
    codes: dict[str, int]
    versions: dict[str, str]
    started: str
    seconds: float
    timings: Timings = Timings()


def settle(
    discovery: Discovery,
    unasked: Sequence[RefusedSeries],
    requests: Sequence[Request],
    ledger: Ledger,
    series_name: Callable[[str], str],
) -> tuple[list[Prediction], Account]:
    """Read the outcome of every case back from the ledger, and say where each file ended.

    Parameters
    ----------
    unasked : sequence of RefusedSeries
        Series of the discovery that are in no request.
    series_name : callable
        Pseudonym of a raw series key.
    """
    predictions: list[Prediction] = []
    accepted: dict[str, str] = {}
    refused = list(unasked)
    for request in requests:
        outcome = ledger.find(request.key)
        assert outcome is not None, "a case has no outcome"
        if outcome.prediction is not None:
            predictions.append(outcome.prediction)
            accepted |= {series.key: request.case for series in request.series}
        if outcome.refusal is not None:
            refused += _refused(request, outcome.refusal)
    return predictions, account(discovery, accepted, refused, series_name)


def _refused(request: Request, refusal: CaseRefusal) -> Iterator[RefusedSeries]:
    """Refuse the series with the guilty file, else the first one; without it the others of a case are INCOMPLETE."""
    path = guilty_path(request, refusal)
    guilty = next(
        (one for one in request.series if any(str(file.path) == path for file in one.files)), request.series[0]
    )
    yield RefusedSeries(guilty, refusal.code, refusal.message, refusal.stage, path, refusal.remedy)
    for series in request.series:
        if series is guilty:
            continue
        message = f"another series of its case is refused: {refusal.code}, {refusal.message}"
        yield RefusedSeries(series, Code.INCOMPLETE, message, refusal.stage)


def write_tables(out: Path, predictions: Sequence[Prediction], findings: Sequence[Finding], ended: Account) -> None:
    """Write predictions in every format, where each file ended, the rejections, and those worth another try."""
    for config in WRITERS:
        writer = config.build()
        writer.write(out / f"predictions{writer.suffix}", predictions, findings)
    atomic.write_bytes(out / FILES, table_bytes(files_text(ended.files)))
    _write_rejections(out / REJECTIONS, ended.rejections)
    _write_rejections(out / RETRY, [one for one in ended.rejections if one.code in PASSING])


def write_earlier(
    out: Path,
    earlier: Sequence[Prediction],
    asked: Collection[str],
    current: Sequence[Prediction],
    findings: Sequence[Finding],
) -> None:
    """Write earlier predictions: SUPERSEDED where the case has another scan today, ABSENT where it has none.

    Parameters
    ----------
    earlier : sequence of Prediction
        In any order.
    asked : collection of str
        Cases that are asked about today.
    current : sequence of Prediction
        Those that stand; a case whose scan is refused today has none, and its column stays empty.
    """
    now = {one.case: one.digest for one in current}
    ordered = sorted(earlier, key=lambda one: (one.case, one.digest))
    rows = [
        [*row, EarlierStatus.SUPERSEDED if one.case in asked else EarlierStatus.ABSENT, now.get(one.case, "")]
        for one in ordered
        for row in text_rows([one], findings)
    ]
    text = csv_text((*columns(findings), "status", "superseded_by"), rows)
    atomic.write_bytes(out / SUPERSEDED, table_bytes(text))


def _write_rejections(path: Path, rejections: Sequence[Rejection]) -> None:
    atomic.write_bytes(path, table_bytes(rejections_text(rejections)))


def model_of_tables(out: Path) -> str:
    """Digest of the model that the tables of a folder were made with; empty where it holds none that can be read."""
    try:
        found = json.loads((out / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return ""
    return str(found.get("model", "")) if isinstance(found, dict) else ""


def decisions(finding: Finding, predictions: Sequence[Prediction]) -> dict[str, int]:
    """Decided class to number of cases; a class that nobody has is left out."""
    said = [answer.decision for one in predictions for answer in one.findings if answer.finding == finding.name]
    return dict(sorted(Counter(said).items()))


def closing_lines(
    out: Path, summary: Summary, ended: Account, predicted: int, elsewhere: int, arriving: int = 0
) -> Iterator[str]:
    """Say what became of every file, what was decided, what was refused and why, and what to open.

    Parameters
    ----------
    predicted : int
        Cases that were outstanding; the others were in the ledger.
    elsewhere : int
        Outcomes in the ledger that no scan of this folder asked for.
    arriving : int
        Files that are left for later: they may not be whole yet.
    """
    yield (
        f"{summary.inputs} files: {summary.used} used, {summary.skipped} skipped, {summary.rejected} rejected. "
        f"{summary.cases} cases have a prediction; {predicted} were to be predicted."
    )
    if arriving:
        yield f"{arriving} more files have changed lately and are waited for."
    elif not summary.inputs:
        yield "The folder holds no file."
    elif not predicted:
        yield "No case was left to read; no network ran."
    if summary.superseded:
        yield f"{summary.superseded} earlier predictions are superseded, their scans have changed: {out / SUPERSEDED}"
    if summary.absent:
        yield (
            f"{summary.absent} earlier predictions are of scans that are gone or no longer selected; they stand in "
            f"{out / SUPERSEDED}, too, as {EarlierStatus.ABSENT}."
        )
    if elsewhere := elsewhere - summary.superseded - summary.absent:
        yield f"The ledger keeps {elsewhere} outcomes of other scans, models or settings; the tables leave them out."
    if unlike := summary.scope.get(ScopeVerdict.OUT_OF_SCOPE.value):
        are = "is" if unlike == 1 else "are"
        yield f"{unlike} of them {are} unlike the scans that the model was trained on; `scope_reasons` says why."
    for name, said in summary.decisions.items():
        if said:
            counts = ", ".join(f"{decision or 'none'} {count}" for decision, count in said.items())
            yield f"{name}: {counts}"
    if skipped := [f"{count} x {code}" for code, count in summary.codes.items() if Code(code) in SKIPS]:
        yield f"Skipped: {', '.join(skipped)}; each file stands in {out / FILES} (names paths: keep it inside)"
    yield from refusal_lines(ended, out / REJECTIONS)
    if again := sum(one.code in PASSING for one in ended.rejections):
        yield f"The same command tries {again} of them again: {out / RETRY}. `retry=true` tries all."
    yield f"Predictions: {out / 'predictions.csv'} (also .jsonl and .parquet), counts: {out / SUMMARY}"
