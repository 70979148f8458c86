"""What a row of labels may name: cases and refused series, found by their identifiers."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path, PurePosixPath

from pipeline.cohort.label_columns import LEVELS
from pipeline.cohort.label_damage import KnownIds
from pipeline.cohort.label_dates import study_day
from pipeline.cohort.label_settings import DateRule
from pipeline.cohort.label_sides import side_in_headers
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.cells import ODD_BYTES, unspelled
from pipeline.domain.series import Identity, Series


@dataclass(frozen=True, slots=True)
class Target:
    """A case, or (without a unit key) the study of a series that was refused.

    Attributes
    ----------
    study : str
        The study UID, or the key of what stands for itself (NIfTI, pictures).
    laterality : str
        Where sides of a study are cases of their own; else empty.
    side : str
        L, R or B, where the headers say it, of any modality; else empty. A row about another side is not about it.
    has_study : bool
        Whether it names its study.
    """

    unit_key: str
    study: str
    patient: str
    day: date | None
    laterality: str
    side: str
    has_study: bool


class Targets:
    """All targets, by level and identifier."""

    def __init__(self, candidates: Sequence[CaseCandidate], refused: Sequence[Series], root: Path) -> None:
        self._root = root.resolve()
        self._found: dict[str, dict[str, list[Target]]] = {level: defaultdict(list) for level in LEVELS}
        for candidate in candidates:
            side = side_in_headers(series.attributes.get("laterality", "") for series in candidate.chosen)
            told = (candidate.laterality, side or candidate.laterality)
            target = _target(candidate.unit_key, candidate.identity, candidate.unit_key, *told)
            self._add(target, candidate.identity, candidate.chosen)
        known = {target.study for found in self._found["study"].values() for target in found}
        for series in refused:
            if series.identity.study_uid not in known:  # a case of the same study stands for it
                self._add(_target("", series.identity, series.key), series.identity, [series])
        self.known = cache(lambda level: KnownIds(self._found[level]))

    def key(self, level: str, text: str) -> str:
        """Return an identifier as it is looked up: as it stands; a path as the first of its names that is known."""
        if level != "path":
            return text
        names = path_keys(text, self._root)
        return next((name for name in names if name in self._found[level]), names[0])

    def find(self, level: str, key: str) -> list[Target]:
        """Return the targets of an identifier."""
        return self._found[level].get(key, [])

    def _add(self, target: Target, identity: Identity, chosen: Sequence[Series]) -> None:
        keys = {
            "series": {series.identity.series_uid for series in chosen},
            "path": {path for series in chosen for file in series.files for path in paths_of(file.relative)},
            "study": {identity.study_uid},
            "accession": {identity.accession},
            "patient": {identity.patient_id},
        }
        for level, names in keys.items():
            for name in sorted(names - {""}):
                self._found[level][name].append(target)


def path_keys(text: str, root: Path) -> tuple[str, ...]:
    """Names that a path of the label file may mean, the likeliest first.

    As it stands, as our tables spell a name that is no UTF-8, and in the bytes of Windows-1252: a spreadsheet says
    ``größe`` where an old export has such a name on the disk.
    """
    meant = [text, unspelled(text)]
    with suppress(UnicodeEncodeError):
        meant.append(unicodedata.normalize("NFC", text).encode("cp1252").decode("utf-8", ODD_BYTES))
    return tuple(dict.fromkeys(path_key(one, root) for one in meant))


def path_key(text: str, root: Path) -> str:
    """Write a path of the label file as discovery writes it: forward slashes, below the scan folder."""
    path = unicodedata.normalize("NFC", text.strip().replace("\\", "/"))
    if Path(path).is_absolute() and Path(path).is_relative_to(root):
        path = Path(path).relative_to(root).as_posix()
    return PurePosixPath(path).as_posix()


def paths_of(relative: str) -> list[str]:
    """List a file and the folders that hold it, as :func:`path_key` writes them."""
    path = PurePosixPath(unicodedata.normalize("NFC", relative))
    return [path.as_posix(), *(folder.as_posix() for folder in path.parents if folder.name)]


def pick_by_date(found: Sequence[Target], rule: DateRule, day: date | None) -> list[Target]:
    """Of a patient's targets those of the study that the rule chooses; all of them for every, and where it cannot."""
    if rule == "every":
        return list(found)
    days = {target.study: target.day for target in found}
    if rule == "same_day":
        return [target for target in found if day is not None and target.day == day]
    dates = [one for one in days.values() if one is not None]
    if len(days) < 2 or len(dates) < len(days) or (rule == "nearest" and day is None):
        return list(found)
    if rule == "nearest":
        assert day is not None
        distance = min(abs(one - day) for one in dates)
        return [target for target in found if target.day is not None and abs(target.day - day) == distance]
    chosen = min(dates) if rule == "first" else max(dates)
    return [target for target in found if target.day == chosen]


def _target(unit_key: str, identity: Identity, own_key: str, laterality: str = "", side: str = "") -> Target:
    day = study_day(identity.study_date)
    study = identity.study_uid
    return Target(unit_key, study or own_key, identity.patient_id, day, laterality, side, bool(study))
