"""How often the test split of a manifest was looked at: a split that is looked at often is no test any more.

Each look is a line of ``NAME.openings.jsonl`` beside the manifest, on the disk before the first case is scored. Lines
hold digests and times, no identifiers.
"""

import fcntl
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from pipeline.domain.frozen import Frozen
from pipeline.errors import ManifestError

ENDING = ".openings.jsonl"


class Opening(Frozen):
    """One look.

    Attributes
    ----------
    manifest, model : str
        Digests of what was looked at, and of what was scored on it.
    """

    time: AwareDatetime
    manifest: str
    model: str


def openings_path(manifest: Path) -> Path:
    """Where the looks at the test split of ``NAME.csv`` are counted."""
    return manifest.with_name(manifest.stem + ENDING)


def record_opening(manifest: Path, digest: str, model: str) -> tuple[Opening, ...]:
    """Note a look at the test split; several processes may do so at once.

    Parameters
    ----------
    manifest : Path
        ``NAME.csv``.
    digest, model : str
        See :class:`Opening`.

    Returns
    -------
    tuple of Opening
        All looks at this manifest, this one last. Those at a manifest of other content under the same name are kept in
        the file, and not among these.

    Raises
    ------
    ManifestError
        The file is damaged, or cannot be written: a look that is not counted is not taken.
    """
    path = openings_path(manifest)
    opening = Opening(time=datetime.now(UTC), manifest=digest, model=model)
    try:
        with path.open("a+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known = _read(path, file.readlines())
            file.write(opening.model_dump_json().encode("utf-8") + b"\n")
            os.fsync(file.fileno())
    except OSError as error:
        raise ManifestError(
            f"Looks at the test split are counted in {path}, which cannot be written: {error.strerror}.",
            "Make its folder writable, or copy the manifest's files to one that is.",
        ) from error
    return (*(look for look in known if look.manifest == digest), opening)


def describe_openings(looks: Sequence[Opening]) -> str:
    """Say how often, and for how many models, the test split was looked at."""
    models = len({look.model for look in looks})
    times = "once" if len(looks) == 1 else f"{len(looks)} times"
    return f"Test split opened {times} so far, for {models} model{'s' * (models > 1)}."


def _read(path: Path, lines: Sequence[bytes]) -> list[Opening]:
    try:
        return [Opening.model_validate_json(line) for line in lines]
    except ValidationError as error:
        raise ManifestError(
            f"{path}, which counts the looks at the test split, is damaged.",
            "Restore it from a backup; moving it away begins the count anew, which a report should say.",
        ) from error
