"""One class per way to fail, each with the exit status of the command.

Every message says what failed, on which input, why, and what to do. Classes for users derive from ``ValueError``;
a broken invariant of our own is an ``assert`` and never one of these. A stop that was asked for is no failure, and
derives from ``BaseException``.
"""

import traceback
from collections.abc import Sequence

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_SOME_REJECTED = 3
EXIT_SIGTERM = 143


class _Spoken(BaseException):
    """What ends a command and speaks to the user."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class ResdxError(_Spoken, ValueError):
    """Base of all errors that speak to the user.

    Parameters
    ----------
    message : str
        What failed and why, naming the file or key. No patient data.
    remedy : str
        What the user can do about it.
    """

    exit_code = EXIT_FAILED

    def __reduce__(self) -> tuple[object, ...]:
        """Cross a process boundary whole, whatever the constructor of the subclass asks for."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[ResdxError], args: tuple[object, ...], state: dict[str, object]) -> ResdxError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UsageError(ResdxError):
    """The command line asks for something impossible."""

    exit_code = EXIT_USAGE


class ConfigError(ResdxError):
    """A configuration has mistakes; all of them are listed, each by dotted key."""

    exit_code = EXIT_USAGE

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        count = f"{len(problems)} mistake" + ("s" if len(problems) != 1 else "")
        super().__init__("\n".join([f"{source}: {count}", *(f"  - {problem}" for problem in problems)]))
        self.problems = tuple(problems)


class RejectedInput(ResdxError):  # noqa: N818 - a verdict on an input, not a failure of the run
    """One input is refused; it becomes a row in rejections.csv and the rest goes on.

    Parameters
    ----------
    code : str
        A member of :class:`pipeline.domain.codes.Code`.
    message : str
        What is wrong, with numbers; without patient data and without paths.
    stage : str
        Where it was found: ``discover``, ``read``, ``select``, ``label``, ``prepare`` or ``predict``.
    path : str
        The guilty file, where one of several is; for tables that may carry paths only.
    """

    exit_code = EXIT_SOME_REJECTED

    def __init__(self, code: str, message: str, *, stage: str = "read", remedy: str = "", path: str = "") -> None:
        super().__init__(message, remedy)
        self.code = code
        self.stage = stage
        self.path = path


def refusal_of(error: Exception) -> RejectedInput:
    """Turn an exception that nobody foresaw into a refusal of the input at hand.

    It names the type and the line of ours, never the exception's own text, which may hold patient data.
    """
    if isinstance(error, MemoryError):
        return RejectedInput("TOO_LARGE", "reading needed more memory than a worker may take")
    frames = [(frame.f_globals.get("__name__", "?"), line) for frame, line in traceback.walk_tb(error.__traceback__)]
    below = frames[1:] or frames  # the first is the one that caught it
    module, line = ([frame for frame in below if frame[0].startswith("pipeline.")] or below)[-1]
    return RejectedInput("INTERNAL", f"unexpected {type(error).__name__} in {module}:{line}")


class LabelFileError(ResdxError):
    """The label file cannot be joined to the scans as it stands."""


class ManifestError(ResdxError):
    """A manifest on disk is damaged, edited or does not fit what is asked of it."""


class LeakError(ResdxError):
    """A patient, or equal or nearly equal pixels, would stand in two splits."""


class PlanError(ResdxError):
    """No sound plan can be made from the training split, or an override contradicts it."""


class TrainingError(ResdxError):
    """Training cannot go on: a loss that is not finite, a damaged checkpoint, too few cases."""


class OutdoneError(ResdxError):
    """A search gives this training up: others were better by then. What is saved stays."""


class PretrainedError(ResdxError):
    """Weights of a file cannot be read, or do not fit the network that is to begin with them."""


class PackageError(ResdxError):
    """A model package is damaged, edited or from an incompatible version."""


class EngineError(ResdxError):
    """An engine cannot run here: its library is missing, or its files are not those that were exported and measured."""


class DiskFull(ResdxError):  # noqa: N818 - a state of the machine, not of the run
    """A file cannot be written for want of space: a full disk, a quota, or a limit on the size of files."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(
            f"No space is left to write {path}: {reason}.",
            "What was saved before is whole. Make space, then give the same command again: it goes on.",
        )


class WorkerError(ResdxError):
    """The processes that read scans cannot start on this machine."""


class ScansGone(UsageError):  # noqa: N818 - a state of the machine, not of the run
    """A folder of scans is not there, or empty and was not before: it is not mounted, say."""


class OutputError(ResdxError):
    """A file of the results cannot be written, whatever the scan: its folder is somebody else's, say."""


class LedgerError(ResdxError):
    """The ledger of a folder is damaged, of another version, or cannot be written."""


class TrackingError(ResdxError):
    """The tracking store cannot be used as configured."""


class StoppedBySignal(_Spoken):
    """SIGTERM arrived; everything was saved.

    It may arrive at any line: like KeyboardInterrupt it passes those who catch ``ValueError`` or ``Exception`` there.

    Parameters
    ----------
    message : str
        Where it arrived.
    remedy : str
        What the same command does when it is given again.
    """

    exit_code = EXIT_SIGTERM
