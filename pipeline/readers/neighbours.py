"""What a series does not show itself: that files which may be slices of it were refused, or that numbers are left out.

A slice that is lost at an end leaves positions as even as they were. Where its file says which series it belongs to
the whole series is refused; where it is empty, cut before its UIDs or packed, nobody can know, and the series says so.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline.domain.codes import SKIPS
from pipeline.domain.series import Refusal, Series

MISSING = "missing"
REFUSED_BESIDE = "refused_beside"


def with_neighbours(series: Sequence[Series], refusals: Iterable[Refusal]) -> tuple[Series, ...]:
    """Tell each series of several files which files beside it were refused, in its attribute ``refused_beside``.

    Beside it is what names the same series, and what names none that is known and lies in the same folder or archive.
    """
    wrong = [refusal for refusal in refusals if refusal.code not in SKIPS]
    if not wrong:
        return tuple(series)
    known = {_uid(one) for one in series} | {refusal.series for refusal in wrong if _is_whole(refusal, series)}
    of_series: dict[str, list[Refusal]] = defaultdict(list)
    of_folder: dict[PurePosixPath, list[Refusal]] = defaultdict(list)
    for refusal in wrong:
        if refusal.series in known:
            of_series[refusal.series].append(refusal)
        else:
            of_folder[_folder(refusal.file.relative)].append(refusal)
    return tuple(_told(one, of_series, of_folder) if len(one.files) > 1 else one for one in series)


def series_notes(series: Series) -> tuple[str, ...]:
    """Say what whoever uses anything that is made from a series must know."""
    missing, beside = (series.attributes.get(name, "") for name in (MISSING, REFUSED_BESIDE))
    notes = (f"InstanceNumber says that {missing}" if missing else "", beside)
    return tuple(note for note in notes if note)


def _told(series: Series, of_series: dict[str, list[Refusal]], of_folder: dict[PurePosixPath, list[Refusal]]) -> Series:
    own = of_series.get(_uid(series), [])
    folders = sorted({_folder(file.relative) for file in series.files})
    beside = [one for folder in folders for one in of_folder.get(folder, [])]
    parts = [_words(own, "of the same series"), _words(beside, "in its folder")]
    if not any(parts):
        return series
    text = f"{' and '.join(filter(None, parts))}: if they are slices of it, it is not whole"
    return replace(series, attributes={**series.attributes, REFUSED_BESIDE: text})


def _words(refusals: Sequence[Refusal], where: str) -> str:
    if not refusals:
        return ""
    codes = ", ".join(f"{count} {code}" for code, count in sorted(Counter(str(one.code) for one in refusals).items()))
    return f"files {where} were refused ({codes})"


def _is_whole(refusal: Refusal, series: Iterable[Series]) -> bool:
    """Whether a file names a series to its end; the UID of one that was cut is the beginning of another's."""
    return bool(refusal.series) and not any(
        _uid(one).startswith(refusal.series) and _uid(one) != refusal.series for one in series
    )


def _uid(series: Series) -> str:
    return series.identity.series_uid or series.key


def _folder(relative: str) -> PurePosixPath:
    return PurePosixPath(relative).parent
