"""One pass over a folder of scans: what is new is predicted, and the tables say what became of every file."""

import logging
import statistics
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline import atomic
from pipeline.cohort.accounting import Account, RefusedSeries, files_by_code
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.domain.prediction import Prediction
from pipeline.domain.selection import Selection
from pipeline.domain.series import Discovery, Series
from pipeline.engines.settings import EngineSettings
from pipeline.errors import ScansGone
from pipeline.ledger import Ledger
from pipeline.package.package import ModelPackage
from pipeline.progress import track
from pipeline.stages.predict_executors import Executor
from pipeline.stages.predict_outputs import CaseOutputs
from pipeline.stages.predict_page import write_page
from pipeline.stages.predict_requests import Request, requests_for
from pipeline.stages.predict_sending import NONE_FAILED, SendingResult, send_objects
from pipeline.stages.predict_sharing import Retry, outstanding
from pipeline.stages.predict_tables import SUMMARY, Summary, Timings, decisions, settle, write_earlier, write_tables
from pipeline.stages.predict_units import cases_to_ask
from pipeline.stages.predict_writing import Keeping
from pipeline.stages.stopping import finishing
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
        Finds what is in the folder.
    restless : callable
        Files of a discovery that are still being written: cases of them that have no outcome yet are left for later.
    """

    out: Path
    package: ModelPackage
    engine: EngineSettings
    select: Selection | None
    retry: Retry
    depends_on: dict[str, object]
    question: str
    ledger: Ledger
    pseudonyms: Pseudonyms
    executor: Executor
    outputs: CaseOutputs
    discover: Callable[[], Discovery]
    restless: Callable[[Discovery], frozenset[Path]] = lambda found: frozenset()


@dataclass(frozen=True, slots=True)
class Passed:
    """What a pass has done.

    Attributes
    ----------
    discovery : Discovery
        What the tables account for.
    revision : int
        Of the ledger when they were written.
    answered : frozenset of str
        Cases that have a prediction.
    predicted : int
        Cases that were outstanding when it began.
    arriving : int
        Files that were left for later.
    elsewhere : int
        Outcomes in the ledger that no scan of the folder asked for.
    """

    discovery: Discovery
    revision: int
    summary: Summary
    ended: Account
    answered: frozenset[str]
    sent: SendingResult
    predicted: int
    arriving: int
    elsewhere: int


def run_pass(batch: Batch, before: Passed | None = None) -> Passed:
    """Find, predict what has no outcome yet, and write the tables.

    Parameters
    ----------
    before : Passed, optional
        The pass before this one: where nothing has changed since, nothing is written.

    Raises
    ------
    ScansGone
        The folder is empty and was not before: it is not mounted, say. The tables stay as they are.
    LedgerError, DiskFull
        Something cannot be written.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    found = batch.discover()
    check_mounted(found, batch.ledger)
    package = batch.package
    asked = cases_to_ask(found, batch.select or package.plan.select or Selection(), package.plan.modality)
    requests = requests_for(asked.candidates, batch.pseudonyms, batch.depends_on)
    after = batch.ledger.revision
    todo = outstanding(requests, batch.ledger, batch.retry)
    restless = batch.restless(found)
    later = [one for one in todo if any(file.path in restless for file in one.files)]
    left_out = {one.key for one in later}
    todo, requests = (tuple(one for one in some if one.key not in left_out) for some in (todo, requests))
    discovery = without(found, [series for one in later for series in one.series], restless)
    arriving = len(found.files) - len(discovery.files)
    if todo or before is None:  # a folder that is followed is looked at every few seconds
        log.info("%d cases, %d of them to predict", len(requests), len(todo))
    keeping = Keeping(
        batch.ledger, batch.executor, batch.outputs, batch.question, debug=log.isEnabledFor(logging.DEBUG)
    )
    if todo:
        deque(track(keeping.predict(todo, after), "predict cases", len(todo)), maxlen=0)
    revision = batch.ledger.revision
    failed = None if before is None else before.sent
    if before is not None and (before.discovery, before.revision) == (discovery, revision):
        sent = send(batch, before.answered, failed, is_unchanged=True)
        return replace(before, predicted=0, arriving=arriving, sent=sent)
    with finishing():  # SIGTERM between two tables would leave them in disagreement
        summary, ended, answered = write_results(batch, discovery, asked.refused, requests, started, clock)
    return Passed(
        discovery=discovery,
        revision=revision,
        summary=summary,
        ended=ended,
        answered=answered,
        sent=send(batch, answered, failed),
        predicted=len(todo),
        arriving=arriving,
        elsewhere=len(batch.ledger) - len(requests),
    )


def send(
    batch: Batch, answered: Collection[str], before: SendingResult | None = None, *, is_unchanged: bool = False
) -> SendingResult:
    """Send the objects of answered cases that the PACS does not hold yet.

    What it did not take before is tried again when refused cases are, not at every look at the folder.

    Parameters
    ----------
    before : SendingResult, optional
        Of the pass before this one.
    is_unchanged : bool
        No object is new since then.
    """
    destination = batch.outputs.settings.dicom.send
    if destination is None:
        return SendingResult()
    failed = SendingResult() if before is None else before
    held_back = failed.failures if batch.retry is Retry.NONE else NONE_FAILED
    if is_unchanged and held_back == failed.failures:
        return SendingResult(failures=held_back)
    findings = [finding.name for finding in batch.package.findings]
    return send_objects(batch.out, destination, answered, findings, held_back)


def write_results(
    batch: Batch,
    discovery: Discovery,
    unasked: Sequence[RefusedSeries],
    requests: Sequence[Request],
    started: datetime,
    clock: float,
) -> tuple[Summary, Account, frozenset[str]]:
    """Read all outcomes back from the ledger and write every table; return the cases that have a prediction, too."""
    findings = batch.package.findings
    predictions, ended = settle(discovery, unasked, requests, batch.ledger, batch.pseudonyms.series)
    write_tables(batch.out, predictions, findings, ended)
    current = {request.key for request in requests}
    earlier = list(batch.ledger.earlier(batch.question, current))
    asked = {request.case for request in requests}
    superseded = [one for one in earlier if one.case in asked]
    write_earlier(batch.out, earlier, asked, predictions, findings)
    summary = Summary(
        **ended.counts.model_dump(),
        superseded=len(superseded),
        absent=len(earlier) - len(superseded),
        model=batch.package.digest,
        engine=batch.engine.model_dump(mode="json", exclude={"exported"}),
        decisions={finding.name: decisions(finding, predictions) for finding in findings},
        scope=_verdicts(predictions),
        codes=files_by_code(ended),
        versions=versions(),
        started=started.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 3),
        timings=_timings(batch.ledger.seconds(current)),
    )
    atomic.write_text(batch.out / SUMMARY, summary.model_dump_json(indent=2) + "\n")
    settings = batch.outputs.settings
    if settings.page:
        write_page(batch.out, batch.package, settings, summary, ended, predictions, superseded)
    return summary, ended, frozenset(one.case for one in predictions)


def without(found: Discovery, later: Collection[Series], restless: Collection[Path]) -> Discovery:
    """Leave out series that are still arriving, and refused files that may be half of what they will be."""
    if not restless:
        return found
    arriving = {series.key for series in later}
    incomplete = arriving | {one.series for one in found.refusals if one.series and one.file.path in restless}
    incomplete -= {series.key for series in found.series if series.key not in arriving}  # only a copy of it arrives
    return replace(
        found,
        series=tuple(series for series in found.series if series.key not in arriving),
        refusals=tuple(one for one in found.refusals if one.file.path not in restless and one.series not in incomplete),
    )


def check_mounted(discovery: Discovery, ledger: Ledger) -> None:
    """Refuse to write empty tables over full ones because a share is not mounted or cannot be listed.

    Raises
    ------
    ScansGone
    """
    if discovery.is_bare and len(ledger):
        raise ScansGone(
            f"{discovery.root} holds nothing that can be read, and {len(ledger)} cases of it are in the ledger.",
            "Is it mounted? The tables were left as they are; mount it, or give another --out for another folder.",
        )


def _verdicts(predictions: Sequence[Prediction]) -> dict[str, int]:
    said = [prediction.scope.value for prediction in predictions]
    return {verdict: said.count(verdict) for verdict in sorted(set(said))}


def _timings(seconds: Sequence[float]) -> Timings:
    if not seconds:
        return Timings()
    return Timings(cases=len(seconds), median=round(statistics.median(seconds), 4), longest=round(max(seconds), 4))
