"""What a result page shows: cases with their pictures, what was refused, and what it was made with."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from pipeline.domain.codes import Code
from pipeline.domain.finding import Finding
from pipeline.domain.manifest import Counts
from pipeline.domain.prediction import Prediction
from pipeline.domain.rejection import Rejection
from pipeline.package.card import ModelCard
from pipeline.writers.strips import Strips

UID = re.compile(r"\b[0-2](?:\.\d+){4,}\b")
"""A DICOM UID (PS3.5 9.1) of at least five components; fewer may be the version of a library."""

STRUCK = "(left out)"
"""Stands where a refusal's message names a path or a UID."""


@dataclass(frozen=True, slots=True)
class CaseOnPage:
    """One case; its pictures where they were made. Of one whose answers are withheld overlays are not shown."""

    prediction: Prediction
    strips: Strips | None = None


@dataclass(frozen=True, slots=True)
class RefusalOnPage:
    """Files that were refused for one reason. Carries no path and no identifier.

    Attributes
    ----------
    series : str
        Pseudonym; empty where the files belong to no series.
    files : int
        The guilty file, and those of its series that cannot be used without it.
    """

    code: Code
    stage: str
    message: str
    remedy: str
    series: str = ""
    files: int = 1


@dataclass(frozen=True, slots=True)
class PageContent:
    """All that stands on the page of one batch. Pseudonyms only.

    Attributes
    ----------
    model : str
        Digest of the package.
    findings : sequence of Finding
        Of the model, in its order: they make the columns, also where there is no case.
    codes : mapping of str to int
        Code to number of skipped or rejected files.
    engine : mapping of str to object
        Settings of the engine.
    started : str
        ISO 8601, UTC.
    superseded : sequence of Prediction
        Earlier answers that a later one has replaced; shown apart, and not counted.
    """

    card: ModelCard
    model: str
    findings: Sequence[Finding]
    counts: Counts
    codes: Mapping[str, int]
    engine: Mapping[str, object]
    versions: Mapping[str, str]
    started: str
    cases: Sequence[CaseOnPage]
    refusals: Sequence[RefusalOnPage] = ()
    superseded: Sequence[Prediction] = ()


class PageWriter(Protocol):
    """A batch of predictions as one page that a person reads."""

    suffix: str
    """Ending of its file, with the dot."""

    def write(self, path: Path, page: PageContent) -> None:
        """Replace `path` in one step; equal content, its cases in whatever order, gives equal bytes."""


def refusals_on_page(rejections: Iterable[Rejection]) -> tuple[RefusalOnPage, ...]:
    """Rows of the page, the most files first: one a reason and series, its INCOMPLETE files counted with the cause.

    The files of all rows together are as many as `rejections`. Paths are left out, also where a message names them.
    """
    rows: dict[tuple[Code, str, str, str, str], int] = {}
    causes: dict[str, tuple[Code, str, str, str, str]] = {}
    waiting: list[tuple[Code, str, str, str, str]] = []
    for one in rejections:
        key = one.code, one.stage, _inert(one.message, one.path), _inert(one.advice, one.path), one.series
        if one.code is Code.INCOMPLETE and one.series:
            waiting.append(key)
            continue
        rows[key] = rows.get(key, 0) + 1
        if one.series:
            causes.setdefault(one.series, key)
    for key in waiting:
        cause = causes.get(key[-1], key)
        rows[cause] = rows.get(cause, 0) + 1
    found = [RefusalOnPage(*key, files=files) for key, files in rows.items()]
    return tuple(sorted(found, key=lambda one: (-one.files, one.code, one.series, one.message)))


def _inert(text: str, path: str) -> str:
    """Text without the path, any part of it that could name somebody, and UIDs."""
    for name in sorted(_telling(path), key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", STRUCK, text)
    return UID.sub(STRUCK, text)


def _telling(path: str) -> set[str]:
    """Parts of a path that a message could repeat; a folder called by a mere word (``data``, ``DICOM``) is none."""
    parts = PurePath(path).parts
    runs = {str(PurePath(*parts[at:end])) for at in range(len(parts)) for end in range(at + 2, len(parts) + 1)}
    return runs | {part for part in parts if len(part) > 3 and not part.isalpha()}
