"""A pool of worker processes in which a crash, a hang or a memory explosion costs one item.

``concurrent.futures`` breaks the whole pool when one worker dies, and cannot end a task that hangs; decoders of others'
files do both. Here each worker has a pipe of its own: the parent knows which item it holds, and replaces it alone.
Workers are spawned, never forked: a fork of a process with PyTorch's threads can deadlock.

What each system gives: Linux all of it, as root and as an ordinary user; macOS has no limit on address space, so that
the parent watches how much its workers hold (:mod:`pipeline.workers.limits`). Windows runs under WSL 2, which is Linux:
ledger and key are guarded by POSIX file locks and modes.
"""

from pipeline.workers.answers import Outcome, attempt, outcome_of
from pipeline.workers.pool import MOST_RESTARTS, SECONDS_PER_CASE, imap

__all__ = ["MOST_RESTARTS", "SECONDS_PER_CASE", "Outcome", "attempt", "imap", "outcome_of"]
