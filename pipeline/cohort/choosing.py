"""How series of one study are ordered, and told apart in messages without free text of their headers."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from pipeline.domain.selection import thickness
from pipeline.domain.series import Series
from pipeline.domain.terms import known_view

LISTED = 8
"""Longest list of series in a message."""

PLAIN_VALUE = re.compile(r"[A-Za-z0-9_. -]{1,40}")
"""Coded values that a message may repeat; free text may name a patient."""


def preference(series: Series) -> tuple[int, float, str]:
    """Order of series: the most slices first, then the thinnest, then by key."""
    slices = series.attributes.get("slices", "")
    thick = thickness(series)
    return -int(slices) if slices.isdecimal() else 0, float("inf") if thick is None else thick, series.key


def tell_apart(members: Sequence[Series]) -> str:
    """Tell series apart by what is measured or coded; descriptions are free text and may name a patient."""
    counted = Counter(_describe(series.modality, series.attributes) for series in members)
    shown = [f"{count} x ({text})" if count > 1 else text for text, count in sorted(counted.items())]
    more = [f"{len(shown) - LISTED} more kinds"] if len(shown) > LISTED else []
    return "; ".join([*shown[:LISTED], *more, *_unplaced(members)])


def _unplaced(members: Sequence[Series]) -> list[str]:
    """Name the rule that leaves out what has no place in the patient beside what has: a dose page, a screen."""
    planes = {series.attributes["plane"] for series in members if series.attributes.get("plane")}
    count = sum(not series.attributes.get("plane") for series in members)
    if not planes or not count:
        return []
    rule = f"plane={planes.pop()}" if len(planes) == 1 else "plane"
    which = "one of them lies" if count == 1 else f"{count} of them lie"
    return [f"{which} in no plane of the patient, as captures of a screen do: the rule {rule} drops such series"]


def _describe(modality: str, attributes: Mapping[str, str]) -> str:
    told = [modality or "modality not known", attributes.get("plane", ""), known_view(attributes.get("view", ""))]
    spacing, slices = attributes.get("spacing", ""), attributes.get("slices", "")
    told += [f"spacing {spacing}" if spacing else "", f"{slices} slices" if slices else ""]
    return ", ".join(text for text in told if PLAIN_VALUE.fullmatch(text))
