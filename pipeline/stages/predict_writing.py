"""Answers are kept one by one: first the files of a case, then its outcome, while the network runs the next one."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from pipeline.errors import OutputError
from pipeline.ledger import CaseOutcome, Ledger
from pipeline.stages.predict_answer import CaseResult
from pipeline.stages.predict_executors import Executor
from pipeline.stages.predict_outputs import CaseOutputs
from pipeline.stages.predict_requests import Request, refusal_of_case
from pipeline.stages.predict_sharing import rounds
from pipeline.workers import Outcome, attempt, outcome_of

BEHIND = 3
"""Cases whose files may still be written while the network goes on: bounds memory, and what a crash repeats."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Writes and commits what an executor answers.

    Attributes
    ----------
    question : str
        Digest over all that every outcome depends on beside the scan.
    debug : bool
        An error that nobody foresaw ends the run, instead of costing its case.
    """

    ledger: Ledger
    executor: Executor
    outputs: CaseOutputs
    question: str
    debug: bool = False

    def predict(self, requests: Sequence[Request], after: int) -> Iterator[Request]:
        """Predict cases, whoever else works on them; yield each that this process has committed.

        Parameters
        ----------
        after : int
            Revision of the ledger when `requests` were found outstanding.

        Raises
        ------
        LedgerError, OutputError, DiskFull
            Something cannot be written.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="resdx-writing") as behind:
            for some in rounds(requests, self.ledger, after):
                writing: deque[tuple[CaseResult, Future[Outcome[frozenset[str]]]]] = deque()
                for result in self.executor.results(some):
                    writing.append((result, behind.submit(self._write, result, self._moment(result))))
                    while len(writing) > BEHIND:
                        yield self._commit(*writing.popleft())
                for one in writing:
                    yield self._commit(*one)

    def _moment(self, result: CaseResult) -> str:
        """When a case was first predicted: what is made again after a crash bears the same time."""
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        return self.ledger.keep(f"made {result.request.key}", now) if self.outputs.writers else now

    def _write(self, result: CaseResult, made: str) -> Outcome[frozenset[str]]:
        """Write the files of a case; return their paths, or why they cannot be made where that is its own fault."""
        said = attempt(partial(self._write_files, made), result, debug=self.debug)
        return outcome_of(0, *said)

    def _write_files(self, made: str, result: CaseResult) -> frozenset[str]:
        try:
            return self.outputs.write(result, made)
        except OSError as error:
            place = Path(str(error.filename or ""))
            if not place.absolute().is_relative_to(self.outputs.out.absolute()) or error.filename is None:
                raise
            raise OutputError(
                f"{place} cannot be written: {error.strerror}.",
                "Look who owns that folder, and what lies there; the same command then goes on where this one stopped.",
            ) from error

    def _commit(self, result: CaseResult, written: "Future[Outcome[frozenset[str]]]") -> Request:
        """Keep an outcome once its files are written."""
        asked, outcome = result.request, result.outcome
        done = written.result()
        if done.error is not None:
            outcome = CaseOutcome(refusal=refusal_of_case(asked, done.error))
        self.ledger.commit(
            asked.key, asked.case, outcome, question=self.question, seconds=result.seconds, files=done.value or ()
        )
        return asked
