"""From series to cases: which series of a study a case rests on, and why the others are left out."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.cohort.channels import fill_channels
from pipeline.cohort.choosing import preference, tell_apart
from pipeline.domain.codes import Code
from pipeline.domain.selection import Selection
from pipeline.domain.series import Discovery, Identity, Series
from pipeline.domain.terms import known_modality

SIDED = "MG"
"""Modality of which each side is a case of its own."""

Chosen = tuple[tuple[Series, ...], tuple[Series, ...], str]
"""Series of a case, series left out, and why (empty: they are only not selected)."""


@dataclass(frozen=True, slots=True)
class CaseCandidate:
    """A case before it has labels and a name.

    Attributes
    ----------
    unit_key : str
        What makes it this case, raw: the study UID (with the side, in mammography), or the key of its series where it
        has none. PHI.
    identity : Identity
        Of its first series.
    chosen : tuple of Series
        What it rests on, at least one.
    laterality : str
        ``L``, ``R``, ... where sides are cases of their own; else empty.
    channels : tuple of Series or None
        Of a case of several series: what fills each channel, None where it is empty. Else empty.
    """

    unit_key: str
    identity: Identity
    chosen: tuple[Series, ...]
    laterality: str = ""
    channels: tuple[Series | None, ...] = ()

    @property
    def slots(self) -> tuple[Series | None, ...]:
        """What fills each channel: of a case without `channels`, its series."""
        return self.channels or self.chosen


@dataclass(frozen=True, slots=True)
class SeriesRefusal:
    """A series that is in no case: NOT_SELECTED is a skip, any other code a rejection."""

    series: Series
    code: Code
    message: str


@dataclass(frozen=True, slots=True)
class Units:
    """Every series of a discovery is in one candidate or one refusal."""

    candidates: tuple[CaseCandidate, ...]
    refusals: tuple[SeriesRefusal, ...]


def cases_of(discovery: Discovery, selection: Selection = Selection()) -> Units:  # noqa: B008 - frozen
    """Gather the series of a discovery into cases.

    A case is a study; in mammography a side of a study; a series, where `selection` says so; and a file without
    identity is a study of its own. Of several series that `selection` leaves, none is taken by guess.
    Candidates come in the order of their keys, refusals in that of the discovery.
    """
    contradictory = _studies_of_several_patients(discovery.series)
    refusals: dict[str, SeriesRefusal] = {}
    groups: dict[str, list[Series]] = defaultdict(list)
    for series in discovery.series:
        if message := contradictory.get(series.identity.study_uid, ""):
            refusals[series.key] = SeriesRefusal(series, Code.BAD_HEADER, message)
        elif series.modality and not known_modality(series.modality):
            message = "its modality is no defined term of an image"
            refusals[series.key] = SeriesRefusal(series, Code.BAD_VALUE, message)
        elif not selection.wants(series):
            refusals[series.key] = SeriesRefusal(series, Code.NOT_SELECTED, "the selection rules leave it out")
        else:
            groups[_group_key(series, selection)].append(series)
    candidates = []
    for key in sorted(groups):
        for unit_key, side, members in _units(key, groups[key]):
            if selection.channels:
                filled = fill_channels(members, selection)
                refusals |= {one.key: SeriesRefusal(one, code, text) for one, code, text in filled.others}
                if present := tuple(one for one in filled.slots if one is not None):
                    candidates.append(CaseCandidate(unit_key, present[0].identity, present, side, filled.slots))
                continue
            chosen, others, trouble = _choose(members, selection)
            code = Code.AMBIGUOUS_SERIES if trouble else Code.NOT_SELECTED
            message = trouble or "another series of this study is chosen"
            refusals |= {one.key: SeriesRefusal(one, code, message) for one in others}
            if chosen:
                candidates.append(CaseCandidate(unit_key, chosen[0].identity, chosen, side))
    ordered = tuple(refusals[series.key] for series in discovery.series if series.key in refusals)
    return Units(tuple(candidates), ordered)


def _studies_of_several_patients(series: Sequence[Series]) -> dict[str, str]:
    """StudyInstanceUID of each to what contradicts itself in it."""
    patients: dict[str, set[str]] = defaultdict(set)
    for one in series:
        patients[one.identity.study_uid].add(one.identity.patient_id)
    several, missing = (
        "series of this study name different patients",
        "PatientID is missing in some series of this study",
    )
    return {
        study: several if len(found - {""}) > 1 else missing
        for study, found in patients.items()
        if study and len(found) > 1
    }


def _group_key(series: Series, selection: Selection) -> str:
    own = series.key if selection.unit == "series" else series.identity.study_uid
    return own or series.key


def _units(key: str, members: Sequence[Series]) -> Iterator[tuple[str, str, list[Series]]]:
    """Yield key, side and series of each case; sides are kept apart unless other modalities stand among them."""
    if any(series.modality != SIDED for series in members):
        yield key, "", list(members)
        return
    sides: dict[str, list[Series]] = defaultdict(list)
    for series in members:
        sides[series.attributes.get("laterality", "").strip().upper()].append(series)
    for side in sorted(sides):
        yield f"{key}|{side}" if side else key, side, sides[side]


def _choose(members: Sequence[Series], selection: Selection) -> Chosen:
    if len(members) == 1:
        return tuple(members), (), ""
    modalities = {series.modality for series in members}
    if selection.several == "refuse" or (SIDED in modalities and len(modalities) > 1):
        return (), tuple(members), f"{len(members)} series are left of this study: {tell_apart(members)}"
    first, *others = sorted(members, key=preference)
    return (first,), tuple(others), ""
