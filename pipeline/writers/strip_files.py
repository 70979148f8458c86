"""Film strips on disk: PNG files and one JSON for each case, all in one folder."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from pipeline import atomic
from pipeline.domain.frozen import Frozen
from pipeline.errors import UsageError
from pipeline.writers.strips import Strips

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""Pseudonyms look so, and what does names a file of the folder and no other."""

UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")

LONGEST_SLUG = 60


class StripsIndex(Frozen):
    """What ``CASE.json`` holds; the names of the PNG files follow from it and are not in it.

    Attributes
    ----------
    slices : str
        sha256 of ``CASE.slices.png``.
    overlays : dict of str to str
        Finding to sha256 of its ``CASE.NUMBER-FINDING.png``, in the order of the numbers.
    """

    version: Literal[1] = 1
    frames: int
    width: int
    height: int
    slices: str
    overlays: dict[str, str]


def save_strips(folder: Path, case: str, strips: Strips) -> set[Path]:
    """Write the strips of a case, or replace them; a crash leaves files that :func:`load_strips` does not mistake.

    Returns the files that were written; an earlier saving may have left others, see :func:`strip_paths`.

    Parameters
    ----------
    case : str
        Its pseudonym.

    Raises
    ------
    UsageError
        If `case` is no pseudonym and could name a file elsewhere.
    """
    _check(case)
    slices, overlays = _paths(folder, case, list(strips.overlays))
    atomic.write_bytes(slices, strips.slices)
    for path, content in zip(overlays, strips.overlays.values(), strict=True):
        atomic.write_bytes(path, content)
    index = StripsIndex(
        frames=strips.frames,
        width=strips.width,
        height=strips.height,
        slices=_sha256(strips.slices),
        overlays={finding: _sha256(content) for finding, content in strips.overlays.items()},
    )
    atomic.write_text(_index(folder, case), index.model_dump_json(indent=2) + "\n")
    return {slices, *overlays, _index(folder, case)}


def strip_paths(folder: Path, case: str, findings: Sequence[str]) -> set[Path]:
    """All files that savings of a case may have left, whether they are there or not: a large folder is slow to list.

    Parameters
    ----------
    findings : sequence of str
        All that the model has; the strips of a case are of some of them, in this order.
    """
    _check(case)
    names = [slug(finding) for finding in findings]
    overlays = {_overlay(folder, case, number, name) for place, name in enumerate(names) for number in range(place + 1)}
    return overlays | {_index(folder, case), _slices(folder, case)}


def load_strips(folder: Path, case: str) -> Strips | None:
    """Read the strips of a case; None where there are none, or not all of one saving."""
    if not SAFE_NAME.fullmatch(case):
        return None
    try:
        index = StripsIndex.model_validate_json(_index(folder, case).read_bytes())
        slices, overlays = _paths(folder, case, list(index.overlays))
        content = slices.read_bytes()
        drawn = {finding: path.read_bytes() for finding, path in zip(index.overlays, overlays, strict=True)}
    except (FileNotFoundError, ValidationError):
        return None
    if _sha256(content) != index.slices or {name: _sha256(one) for name, one in drawn.items()} != index.overlays:
        return None
    return Strips(index.frames, index.width, index.height, content, drawn)


def slug(finding: str) -> str:
    """Name of a finding as part of a file name; two findings may share one."""
    return UNSAFE.sub("_", finding)[:LONGEST_SLUG]


def _check(case: str) -> None:
    if not SAFE_NAME.fullmatch(case):
        raise UsageError(f"{case!r} is no name of a case.", "Give its pseudonym: letters, digits, - and _.")


def _paths(folder: Path, case: str, findings: list[str]) -> tuple[Path, list[Path]]:
    """Paths of the slices and of each overlay; numbered, so that no two findings share a file."""
    overlays = [_overlay(folder, case, number, slug(finding)) for number, finding in enumerate(findings)]
    return _slices(folder, case), overlays


def _overlay(folder: Path, case: str, number: int, name: str) -> Path:
    return folder / f"{case}.{number}-{name}.png"


def _slices(folder: Path, case: str) -> Path:
    return folder / f"{case}.slices.png"


def _index(folder: Path, case: str) -> Path:
    return folder / f"{case}.json"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
