"""What a series does not show itself: that slices of it may have been refused, left out, or put into other series.

A slice that is lost at an end leaves positions as even as they were. Where its file says which series it belongs to
the whole series is refused; where it is empty, cut before its UIDs or packed, nobody can know, and the series says so.
And an export that gives each image a series of its own leaves volumes of one slice.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline.domain.codes import SKIPS
from pipeline.domain.series import Refusal, Series

MISSING = "missing"
SHARED_UID = "shared_uid"
CONTRADICTION = "contradiction"
REFUSED_BESIDE = "refused_beside"
TORN = "torn"

FEWEST_TORN = 3
"""Series of one slice, alike in kind and size, of which a study has few: so many may be one volume."""

Codes = Counter[str]
"""How many files were refused, by code."""


def with_neighbours(series: Sequence[Series], refusals: Iterable[Refusal]) -> tuple[Series, ...]:
    """Tell each series of several files which files beside it were refused, in its attribute ``refused_beside``.

    Beside it is what names the same series, and what names none that is known and lies in the same folder or archive.
    """
    series = _with_torn(series)
    names = sorted({_uid(one) for one in series})
    of_series: dict[str, Codes] = defaultdict(Counter)
    of_folder: dict[PurePosixPath, Codes] = defaultdict(Counter)
    for refusal in refusals:
        if refusal.code in SKIPS:
            continue
        if refusal.series and not _is_cut(refusal.series, names):
            of_series[refusal.series][str(refusal.code)] += 1
        else:
            of_folder[_folder(refusal.file.relative)][str(refusal.code)] += 1
    if not of_series and not of_folder:
        return tuple(series)
    return tuple(_told(one, of_series, of_folder) if len(one.files) > 1 else one for one in series)


def series_notes(series: Series) -> tuple[str, ...]:
    """Say what whoever uses anything that is made from a series must know."""
    told = [series.attributes.get(name, "") for name in (CONTRADICTION, MISSING, SHARED_UID, TORN, REFUSED_BESIDE)]
    if told[1]:
        told[1] = f"InstanceNumber says that {told[1]}"
    return tuple(note for note in told if note)


def _told(series: Series, of_series: Mapping[str, Codes], of_folder: Mapping[PurePosixPath, Codes]) -> Series:
    beside: Codes = Counter()
    for folder in {_folder(file.relative) for file in series.files}:
        beside += of_folder.get(folder, Counter())
    parts = [_words(of_series.get(_uid(series), Counter()), "of the same series"), _words(beside, "in its folder")]
    if not any(parts):
        return series
    text = f"{' and '.join(filter(None, parts))}: if they are slices of it, it is not whole"
    return replace(series, attributes={**series.attributes, REFUSED_BESIDE: text})


def _with_torn(series: Sequence[Series]) -> list[Series]:
    """Tell each series of one slice how many of its study or frame of reference are so too, in attribute ``torn``."""
    alike: dict[tuple[str, ...], set[tuple[str, str]]] = defaultdict(set)
    for one in series:
        for scope in _scopes(one):
            alike[scope].add((one.identity.study_uid, _uid(one)))
    told = []
    for one in series:
        count = max((len(alike[scope]) for scope in _scopes(one)), default=0)
        text = f"it is one slice, as are {count - 1} other series like it: a volume may have been torn apart"
        told.append(replace(one, attributes={**one.attributes, TORN: text}) if count >= FEWEST_TORN else one)
    return told


def _scopes(one: Series) -> list[tuple[str, ...]]:
    """Where to look for the other slices of a volume of which a series is one; nowhere, where it is none."""
    known, identity = one.attributes, one.identity
    if known.get("slices") != "1" or "frame_of_reference" not in known:
        return []
    kind = (identity.patient_id, one.modality, *(known.get(name, "") for name in ("plane", "rows", "columns")))
    places = (("study", identity.study_uid), ("frame of reference", known["frame_of_reference"]))
    return [(*place, *kind) for place in places if place[1]]


def _words(codes: Codes, where: str) -> str:
    if not codes:
        return ""
    return f"files {where} were refused ({', '.join(f'{count} {code}' for code, count in sorted(codes.items()))})"


def _is_cut(name: str, names: Sequence[str]) -> bool:
    """Whether a UID is the beginning of one of `names`, which are sorted: the file ends within it."""
    place = bisect_left(names, name)
    return place < len(names) and names[place] != name and names[place].startswith(name)


def _uid(series: Series) -> str:
    return series.identity.series_uid or series.key


def _folder(relative: str) -> PurePosixPath:
    return PurePosixPath(relative).parent
