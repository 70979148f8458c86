"""Try candidates in another process: a kernel that ends its process costs a candidate and not the run."""

import functools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from pipeline import atomic
from pipeline.errors import RejectedInput
from pipeline.machine import memory_limit
from pipeline.training.precision.choice import Candidate, Trial
from pipeline.training.precision.compiler import NotCompiledError
from pipeline.training.precision.judging import judge, not_compiled
from pipeline.training.precision.rehearsal import Measured, Rehearsal, run
from pipeline.workers import imap

REHEARSAL = "rehearsal.pt"
REFERENCE = "reference.pt"

TRIED_IN = ".tmp-precision"
"""Folder below the run's own that holds both while candidates are tried."""

SECONDS_PER_TRIAL = 3600.0
"""A candidate that takes longer hangs."""

ENDINGS = {
    "CODEC_CRASH": "its process died",
    "TIMEOUT": f"it did not end within {SECONDS_PER_TRIAL:.0f} s",
    "TOO_LARGE": "it took more memory than there is",
}
"""What the codes of a worker that came to a bad end mean here."""


class Apart:
    """Tries candidates in a process of its own, on the processor, with as many threads as this one.

    Parameters
    ----------
    folder : Path
        Holds model and batch, and what float32 gave.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, candidates: Sequence[Candidate]) -> Sequence[Trial]:
        """Run and judge."""
        function = functools.partial(_tried, self._folder, torch.get_num_threads())
        outcomes = imap(
            function,
            candidates,
            processes=1,
            timeout_seconds=SECONDS_PER_TRIAL,
            memory_bytes=memory_limit(),
        )
        return [
            outcome.value if outcome.value is not None else _failed(candidate, outcome.error)
            for candidate, outcome in zip(candidates, outcomes, strict=True)
        ]


@contextmanager
def apart(rehearsal: Rehearsal, run_folder: Path | None = None) -> Iterator[Apart]:
    """Put model and batch where another process finds them; only for as long as needed.

    They hold images. Below a run folder, a process that is killed leaves them where the next one that tries candidates
    takes them away; without one they go to the system's temporary folder.
    """
    with _own_folder(run_folder) as folder:
        atomic.write_with(folder / REHEARSAL, lambda path: torch.save(rehearsal, path))
        yield Apart(folder)


@contextmanager
def _own_folder(run_folder: Path | None) -> Iterator[Path]:
    if run_folder is None:
        with tempfile.TemporaryDirectory(prefix="resdx-precision-") as name:
            yield Path(name)
        return
    folder = run_folder / TRIED_IN
    clear(run_folder)
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        clear(run_folder)


def clear(run_folder: Path) -> None:
    """Take away what a process that was killed left; the run folder must be held."""
    shutil.rmtree(run_folder / TRIED_IN, ignore_errors=True)


def _tried(folder: Path, threads: int, candidate: Candidate) -> Trial:
    torch.set_num_threads(threads)
    # a file that this program wrote a moment ago, in a folder of mode 0700
    rehearsal: Rehearsal = torch.load(folder / REHEARSAL, weights_only=False)
    measured = (folder / REFERENCE).exists()
    if not measured and candidate.precision != "32":
        problem = "no float32 came to an end to compare it with"
        return Trial(**candidate._asdict(), seconds=0.0, problem=problem, usable=False)
    try:
        found = run(rehearsal, candidate)
    except NotCompiledError as error:
        return not_compiled(candidate, error)
    if not measured:
        atomic.write_with(folder / REFERENCE, lambda path: torch.save(tuple(found), path))
    reference = Measured(*torch.load(folder / REFERENCE, weights_only=True))
    return judge(candidate, found, reference)


def _failed(candidate: Candidate, error: RejectedInput | None) -> Trial:
    assert error is not None
    problem = ENDINGS.get(error.code) or f"it could not be tried: {error.message}"
    return Trial(**candidate._asdict(), seconds=0.0, problem=problem, usable=False)
