"""Patients whose ids are nearly the same: one patient, perhaps, whose id was typed or exported in two ways.

They are told and never united: whose they are, only the hospital knows. Where the headers also agree in name and birth
date, :func:`pipeline.cohort.leaks.audit` takes them for one.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from pipeline.cohort.label_damage import INVISIBLE
from pipeline.cohort.patients import Patient, tied

LISTED = 5
"""Groups that a note names at most."""

REMEDY = (
    "give all of their rows one id in the patient column of the label file. The map beside the key of the pseudonyms "
    "tells their ids."
)

Group = tuple[str, ...]
"""Pseudonyms of patients, in order."""


def plain_id(text: str) -> str:
    """Leave out what a keyboard, a spreadsheet or an export changes of an id: case, leading zeros, blanks, form."""
    visible = unicodedata.normalize("NFC", text.strip().strip(INVISIBLE).strip()).casefold()
    return visible.lstrip("0") or "0" if visible.isdecimal() else visible


def near_ids(patients: Mapping[str, Patient]) -> tuple[Group, ...]:
    """Group patients, by pseudonym, of whose ids one is nearly another's."""
    return _groups((name, map(plain_id, one.ids)) for name, one in patients.items())


def same_persons(patients: Mapping[str, Patient]) -> tuple[Group, ...]:
    """Group those of :func:`near_ids` that share name and birth date in the headers, too.

    What patients share whose ids are not alike is no one's name: an export has written it over all of them.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for name, one in patients.items():
        for person in one.persons:
            owners[person].add(name)
    group_of = {name: number for number, group in enumerate(near_ids(patients)) for name in group}
    own = {person for person, names in owners.items() if len({group_of.get(one, one) for one in names}) == 1}
    return _groups((name, one.persons & own) for name, one in patients.items())


def near_notes(near: Sequence[Group], same: Sequence[Group]) -> tuple[str, ...]:
    """Say which patients may be one. No identifiers."""
    notes = []
    if same:
        notes.append(
            f"{_count(same)} patients have ids that differ by capitals, leading zeros or blanks alone, and one name "
            f"and birth date: they are one and counted as several: {_listed(same)}. To mend it, {REMEDY}"
        )
    if near := [group for group in near if group not in same]:
        notes.append(
            f"{_count(near)} patients have ids that differ by capitals, leading zeros or blanks alone, and each is "
            f"counted: {_listed(near)}. Where they are one: {REMEDY}"
        )
    return tuple(notes)


def _groups(keys: Iterable[tuple[str, Iterable[str]]]) -> tuple[Group, ...]:
    """Patients that share a key, also by way of others."""
    holders: dict[str, set[str]] = defaultdict(set)
    for name, own in keys:
        for key in own:
            holders[key].add(name)
    whole = tied(holders.values())
    found = {tuple(sorted(group)) for group in {id(one): one for one in whole.values()}.values() if len(group) > 1}
    return tuple(sorted(found))


def _count(groups: Iterable[Collection[str]]) -> int:
    return sum(map(len, groups))


def _listed(groups: Sequence[Group]) -> str:
    more = f" and {len(groups) - LISTED} groups more" if len(groups) > LISTED else ""
    return "; ".join(" and ".join(group) for group in groups[:LISTED]) + more
