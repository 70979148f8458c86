"""One pass over a folder of scans: what is new is predicted, and the tables say what became of every file."""

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipeline import atomic
from pipeline.cohort.accounting import Account, files_by_code
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.config import Part
from pipeline.domain.prediction import Prediction
from pipeline.domain.selection import Selection
from pipeline.domain.series import Discovery
from pipeline.errors import UsageError
from pipeline.ledger import Ledger
from pipeline.package.package import ModelPackage
from pipeline.progress import track
from pipeline.stages.predict_executors import Executor
from pipeline.stages.predict_requests import Request, requests_for
from pipeline.stages.predict_sharing import outstanding, rounds
from pipeline.stages.predict_tables import SUMMARY, Summary, Timings, decisions, settle, write_superseded, write_tables
from pipeline.stages.predict_units import cases_to_ask
from pipeline.tracking.provenance import versions

log = logging.getLogger("resdx")


@dataclass(frozen=True, slots=True)
class Batch:
    """What stays the same from pass to pass.

    Attributes
    ----------
    question : str
        Digest over `depends_on`: what every outcome depends on beside the scan.
    discover : callable
        Finds the series that may be read now.
    """

    out: Path
    package: ModelPackage
    engine: Part
    select: Selection | None
    retry: bool
    depends_on: dict[str, object]
    question: str
    ledger: Ledger
    pseudonyms: Pseudonyms
    executor: Executor
    discover: Callable[[], Discovery]


@dataclass(frozen=True, slots=True)
class Passed:
    """What a pass has done.

    Attributes
    ----------
    predicted : int
        Cases that were outstanding when it began.
    elsewhere : int
        Outcomes in the ledger that no scan of the folder asked for.
    """

    summary: Summary
    ended: Account
    predicted: int
    elsewhere: int


def run_pass(batch: Batch) -> Passed:
    """Find, predict what has no outcome yet, and write the tables.

    Raises
    ------
    UsageError
        The folder is empty and was not before: it is not mounted, say. The tables stay as they are.
    LedgerError, DiskFull
        Something cannot be written.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    discovery = batch.discover()
    check_mounted(discovery, batch.ledger)
    package = batch.package
    asked = cases_to_ask(discovery, batch.select or package.plan.select or Selection(), package.plan.modality)
    requests = requests_for(asked.candidates, batch.pseudonyms, batch.depends_on)
    after = batch.ledger.revision
    todo = outstanding(requests, batch.ledger, retry=batch.retry)
    log.info("%d cases, %d of them to predict", len(requests), len(todo))
    predict_cases(todo, batch, after)
    predictions, ended = settle(discovery, asked.refused, requests, batch.ledger, batch.pseudonyms.series)
    write_tables(batch.out, predictions, package.findings, ended)
    current = {request.key for request in requests}
    superseded = list(batch.ledger.superseded(batch.question, current))
    write_superseded(batch.out, superseded, predictions, package.findings)
    summary = Summary(
        **ended.counts.model_dump(),
        superseded=len(superseded),
        model=package.digest,
        engine=batch.engine.model_dump(mode="json"),
        decisions={finding.name: decisions(finding, predictions) for finding in package.findings},
        scope=_verdicts(predictions),
        codes=files_by_code(ended),
        versions=versions(),
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
        timings=_timings(batch.ledger.seconds(current)),
    )
    atomic.write_text(batch.out / SUMMARY, summary.model_dump_json(indent=2) + "\n")
    return Passed(summary, ended, predicted=len(todo), elsewhere=len(batch.ledger) - len(requests))


def check_mounted(discovery: Discovery, ledger: Ledger) -> None:
    """Refuse to write empty tables over full ones because a share is not mounted or cannot be listed.

    Raises
    ------
    UsageError
    """
    if discovery.series or not len(ledger):
        return
    if all(refusal.file.size == 0 for refusal in discovery.refusals):
        raise UsageError(
            f"{discovery.root} holds nothing that can be read, and {len(ledger)} cases of it are in the ledger.",
            "Is it mounted? The tables were left as they are; mount it, or give another --out for another folder.",
        )


def predict_cases(requests: Sequence[Request], batch: Batch, after: int) -> None:
    """Predict cases, whoever else works on them, and commit one by one."""
    for some in rounds(requests, batch.ledger, after):
        for result in track(batch.executor.results(some), "predict cases", len(requests)):
            asked = result.request
            batch.ledger.commit(asked.key, asked.case, result.outcome, question=batch.question, seconds=result.seconds)


def _verdicts(predictions: Sequence[Prediction]) -> dict[str, int]:
    said = [prediction.scope.value for prediction in predictions]
    return {verdict: said.count(verdict) for verdict in sorted(set(said))}


def _timings(seconds: Sequence[float]) -> Timings:
    if not seconds:
        return Timings()
    return Timings(cases=len(seconds), median=round(statistics.median(seconds), 4), longest=round(max(seconds), 4))
