"""Several processes on one folder: each takes what nobody works on, and waits for what others have taken."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import islice

from pipeline.domain.codes import Code
from pipeline.ledger import CaseOutcome, Ledger
from pipeline.stages.predict_requests import Request

log = logging.getLogger("resdx")

PASSING = frozenset({Code.TIMEOUT, Code.UNREADABLE, Code.CODEC_CRASH, Code.CHANGED, Code.TOO_LARGE, Code.INTERNAL})
"""Refusals that the same scan may not meet another time: on a calmer machine, with other limits, by who debugs."""

AT_ONCE = 4
"""Cases that are claimed in one go: one transaction, which is one wait for the disk."""

LOOK_SECONDS = 0.2
"""How often it is looked whether others are done."""


SILENT_LOOKS = 50
"""After so many it is said for whom one waits: a process may be stopped, or hang on a share that is gone."""


class Retry(StrEnum):
    """Which refused cases are tried again."""

    NONE = "none"
    PASSING = "passing"
    """Those that :data:`PASSING` names."""
    ALL = "all"


def outstanding(requests: Iterable[Request], ledger: Ledger, retry: Retry) -> tuple[Request, ...]:
    """Cases that have no outcome yet, or a refusal that is to be tried again, or whose files are of another outcome.

    Files that somebody removed are made again where all is tried again; else it is said that they are missing.
    """
    found, bare = [], 0
    for one in requests:
        files = ledger.files(one.key, one.case)
        if files is None or _is_open(ledger.find(one.key), retry):
            found.append(one)
        elif retry is not Retry.NONE and not all(path.exists() for path in files):
            bare += 1
            found += [one] if retry is Retry.ALL else []
    if bare and retry is not Retry.ALL:
        log.warning("files of %d cases were removed since they were predicted; `retry=true` makes them again", bare)
    return tuple(found)


def _is_open(outcome: CaseOutcome | None, retry: Retry) -> bool:
    if outcome is None:
        return True
    if outcome.refusal is None or retry is Retry.NONE:
        return False
    return retry is Retry.ALL or outcome.refusal.code in PASSING


def rounds(requests: Sequence[Request], ledger: Ledger, after: int) -> Iterator[Iterator[Request]]:
    """Yield rounds of cases to work on until every case has an outcome behind a revision, by this process or another.

    The first round is all that can be claimed. Others follow only where a process has ended before it was done with
    what it had taken.

    Parameters
    ----------
    after : int
        Revision of the ledger when `requests` were found outstanding.
    """
    left, waited = list(requests), 0
    while left:
        yield _claimed(left, ledger, after)
        assert not ledger.holds_claims, "a case was claimed and not answered"
        left = [one for one in left if ledger.find(one.key, after=after) is None]
        if left:
            ledger.take_over()
            time.sleep(LOOK_SECONDS)
            waited += 1
            if waited == SILENT_LOOKS:
                holders = ", ".join(ledger.other_processes) or "not known"
                log.info("%d cases are in the hands of other processes (%s); waiting for them", len(left), holders)


def _claimed(requests: Sequence[Request], ledger: Ledger, after: int) -> Iterator[Request]:
    source = iter(requests)
    while some := list(islice(source, AT_ONCE)):
        taken = ledger.claim({one.key: one.case for one in some}, after=after)
        yield from (one for one in some if one.key in taken)
