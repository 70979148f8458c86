"""The folder of one training run: one process at a time, one set of settings, decisions that a resumed run keeps."""

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pipeline import atomic
from pipeline.config import Settings, to_yaml
from pipeline.credentials import redacted
from pipeline.domain.frozen import Frozen
from pipeline.errors import OutputError, TrainingError, UsageError

LOCK = "run.lock"
SETTINGS = "settings.json"
CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"

Noun = TypeVar("Noun", bound=Frozen)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; the operating system lets go of it however the process ends.

    Raises
    ------
    UsageError
        Another process is training in it.
    OutputError
        It cannot be made, written or locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise OutputError(
            f"{folder} cannot hold a run: {error.strerror}.", "Give an `out` that you may write."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"Another process is training in {folder}.", "Wait for it, stop it, or give another `out`."
            ) from error
        except OSError as error:
            message = f"{folder / LOCK} cannot be locked: {error.strerror}."
            raise OutputError(
                message, "Give an `out` on a file system with locks (flock), such as a local one."
            ) from error
        yield


def claim(folder: Path, settings: Settings, facts: Mapping[str, str], *, free: frozenset[str], resume: bool) -> bool:
    """Begin a run, or go on with one that had the same settings.

    Parameters
    ----------
    settings : Settings
        Saved as ``config.yaml``, without users and passwords of URLs.
    facts : mapping of str to str
        What else must be the same, e.g. the digest of the manifest.
    free : frozenset of str
        Dotted keys that may differ when a run goes on: they change where and how fast, never what comes out.
    resume : bool
        Whether to go on with what is there.

    Returns
    -------
    bool
        Whether a run is there already.

    Raises
    ------
    UsageError
        The folder holds a run of other settings, or any run where `resume` is off.
    """
    path = folder / SETTINGS
    values = flatten(settings.model_dump(mode="json"))
    wanted = redacted({key: value for key, value in values.items() if not _in(key, free)} | dict(facts))
    exists = path.is_file()
    if not exists and (folder / CHECKPOINTS).exists():
        raise UsageError(f"{folder} holds checkpoints of a run whose {SETTINGS} is gone.", "Give another `out`.")
    if exists and not resume:
        raise UsageError(f"{folder} holds a run already and `resume` is off.", "Give another `out`.")
    if exists:
        before = redacted({key: value for key, value in _read(path).items() if not _in(key, free)})
        keys = sorted(set(wanted) | set(before))
        # a setting that an older version did not have was, in effect, at the default that it got
        default = values.keys() - flatten(settings.model_dump(mode="json", exclude_defaults=True)).keys()
        new = {key for key in default if key not in before}
        changed = [key for key in keys if wanted.get(key) != before.get(key) and key not in new]
        if changed:
            lines = [f"  - {key}: was {before.get(key)!r}, is {wanted.get(key)!r}" for key in changed]
            raise UsageError(
                "\n".join([f"{folder} holds a run with other settings:", *lines]) + ".",
                "Give another `out`, or the settings of that run to go on with it.",
            )
    atomic.write_text(folder / CONFIG, to_yaml(settings))
    atomic.write_text(path, json.dumps(wanted, indent=2) + "\n")
    return exists


def once(path: Path, noun: type[Noun], make: Callable[[], Noun]) -> Noun:
    """Read what was decided when the run began, or decide it now and keep it.

    Raises
    ------
    TrainingError
        The file is damaged.
    """
    if path.is_file():
        try:
            return noun.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise TrainingError(
                f"{path} is damaged: {error.errors()[0]['msg']}.", "Restore it, or begin again in another folder."
            ) from error
    made = make()
    atomic.write_text(path, made.model_dump_json(indent=2) + "\n")
    return made


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys; lists stay values."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flatten(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def worded(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested settings as text by dotted key, as a journal takes parameters."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in flatten(values).items()}


def _in(key: str, free: frozenset[str]) -> bool:
    return key in free or any(key.startswith(f"{name}.") for name in free)


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(f"{path} is damaged.", "Restore it, or begin again in another folder.") from error
    return found
