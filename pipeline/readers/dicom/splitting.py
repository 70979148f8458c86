"""Several images at one position: which attribute tells them apart. Nothing is ever chosen among them.

Phases, echoes and b-values of one series share its positions. Each becomes a stack of its own where an attribute says
which is which; where none does, the series is refused.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.orientation import normal_of
from pipeline.readers.dicom.partition import value_of
from pipeline.readers.dicom.slices import SPLIT_KEYS, STRONG_KEYS, TIME_KEYS, Slice
from pipeline.readers.dicom.stated import wanted_multiple

POSITION_TOLERANCE_MM = 0.01
"""Slices closer than this along the normal lie at one position."""

KINDS = frozenset({"EchoTime", "EchoNumbers", "DiffusionBValue", "ConvolutionKernel"})
"""Keys of which one volume has one value, whatever the scanner."""

OF_A_PHASE = (*sorted(KINDS), "ImageType", "InversionTime", "ComplexImageComponent")
"""Keys of which a phase of the heart has one value: where its slices differ, they were ranked wrong."""

UTC_OFFSET = re.compile(r"(?<=[\d.])[+-][\d:]+$")
"""Of a DT (PS3.5 6.2); a negative number has its sign in front."""

Classes = dict[tuple[str, ...], list[int]]
"""Values of the chosen keys to the indices of the slices that have them."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Parallel slices with distinct positions, in the order of their positions along the normal.

    Attributes
    ----------
    keys : mapping of str to str
        What told this stack from the others of its series; empty where it is the only one.
    """

    slices: tuple[Slice, ...]
    keys: Mapping[str, str] = field(default_factory=dict)


def without_copies(slices: Sequence[Slice], pixels: Callable[[Slice], str]) -> tuple[list[Slice], list[Slice]]:
    """Set aside images that stand twice: one position, the same attributes, the same pixels.

    Parameters
    ----------
    pixels : callable
        Digest of the encoded pixels of a slice; asked only where everything else is equal.

    Returns
    -------
    kept, copies : list of Slice
    """
    kept: list[Slice] = []
    copies: list[Slice] = []
    seen: dict[tuple[object, ...], list[Slice]] = defaultdict(list)
    for one, place in zip(slices, places_of(slices), strict=True):
        attributes = (tuple(sorted(one.keys.items())), tuple(sorted(one.times.items())))
        alike = seen[place, *attributes, one.meaning, one.encoding]
        if any(pixels(other) == pixels(one) for other in alike):
            copies.append(one)
        else:
            alike.append(one)
            kept.append(one)
    return kept, copies


def split(slices: Sequence[Slice]) -> list[Stack]:
    """Split parallel slices of one grid until no two lie at one position; a stack that is split again stays whole.

    Raises
    ------
    RejectedInput
        AMBIGUOUS where no attribute tells two images at one position apart.
    """
    stacks = _split_once(slices)
    if len(stacks) == 1:
        return stacks
    return [Stack(inner.slices, {**outer.keys, **inner.keys}) for outer in stacks for inner in split(outer.slices)]


def _split_once(slices: Sequence[Slice]) -> list[Stack]:
    places = places_of(slices)
    most = max(Counter(places).values())
    if most == 1:
        keys, classes = _by_kind(slices, places)
    else:
        keys, classes = _by_keys(slices, places, most)
    if most == 1 and len(classes) == 1:
        keys, classes = _by_density(slices, places) or (keys, classes)
    if not classes:
        keys, classes = ("pass",), _by_time(slices, places, most)
    if not classes:
        keys, classes = _by_keys(slices, places, most, whole=False)
    if not classes:
        message = f"up to {most} different images lie at one position, and no attribute tells them apart"
        raise RejectedInput(Code.AMBIGUOUS, message)
    stacks = []
    for values, members in sorted(classes.items(), key=lambda entry: [_rank(value) for value in entry[0]]):
        order = sorted(members, key=lambda index: places[index])
        stacks.append(Stack(tuple(slices[index] for index in order), dict(zip(keys, values, strict=True))))
    return stacks


def places_of(slices: Sequence[Slice]) -> list[int]:
    """Give each slice the number of its position along the normal, counted from the lowest."""
    normal = normal_of(slices[0])
    along = np.array([np.array(one.position) @ normal for one in slices])
    order = np.argsort(along, kind="stable")
    places = np.empty(len(slices), dtype=int)
    places[order] = np.concatenate([[0], np.cumsum(np.diff(along[order]) > POSITION_TOLERANCE_MM)])
    return [int(place) for place in places]


def _by_kind(slices: Sequence[Slice], places: Sequence[int]) -> tuple[tuple[str, ...], Classes]:
    """Split volumes of different kinds of which no two slices share a position: they alternate, or adjoin.

    Raises
    ------
    RejectedInput
        MIXED where a single slice is of another kind than its volume.
    """
    for key in STRONG_KEYS:
        classes = _classes(slices, (key,))
        if key in KINDS and len(classes) > 1 and "" not in {value for (value,) in classes}:
            if min(map(len, classes.values())) == 1:
                raise RejectedInput(Code.MIXED, f"one slice differs from its volume in {key}")
            return (key,), classes
        spans = [[places[index] for index in members] for members in classes.values()]
        ranges = sorted((min(span), max(span)) for span in spans)
        overlap = any(later[0] < earlier[1] for earlier, later in pairwise(ranges))
        if len(classes) > 1 and overlap and min(map(len, classes.values())) > 1:
            return (key,), classes
    return (), {(): list(range(len(slices)))}


def _by_density(slices: Sequence[Slice], places: Sequence[int]) -> tuple[tuple[str, ...], Classes] | None:
    """Split passes that lie between each other's slices: the whole is several times as dense as the slices state.

    They are told by an attribute, or by the time of their acquisition; where neither tells, there is one volume.
    """
    normal = normal_of(slices[0])
    times = wanted_multiple(slices, np.sort([float(np.array(one.position) @ normal) for one in slices]))
    if times == 1 or len(slices) < 2 * times:
        return None
    between: Classes = {(str(turn),): [] for turn in range(times)}
    for index, place in enumerate(places):
        between[(str(place % times),)].append(index)
    wanted = sorted(sorted(members) for members in between.values())
    for key in SPLIT_KEYS:
        classes = _classes(slices, (key,))
        if sorted(sorted(members) for members in classes.values()) == wanted:
            return (key,), classes
    for key in TIME_KEYS:
        if _follow_each_other(slices, list(between.values()), key):
            return ("pass",), between
    return None


def _follow_each_other(slices: Sequence[Slice], passes: Sequence[Sequence[int]], key: str) -> bool:
    """Whether each pass ends before the next begins, in any order of the passes."""
    times = [_seconds(one.times.get(key, "")) for one in slices]
    if None in times:
        return False
    known = [time for time in times if time is not None]
    spans = sorted((min(known[index] for index in one), max(known[index] for index in one)) for one in passes)
    return all(before[1] < after[0] for before, after in pairwise(spans))


def _by_keys(
    slices: Sequence[Slice], places: Sequence[int], most: int, *, whole: bool = True
) -> tuple[tuple[str, ...], Classes]:
    """Refine by one key after the other, as long as it tells images at one position apart.

    Parameters
    ----------
    whole : bool
        Whether no two images of a class may be left at one position; else some may, which time tells apart.
    """
    chosen: tuple[str, ...] = ()
    shared = _shared(_classes(slices, chosen), places)
    for key in SPLIT_KEYS:
        finer = _classes(slices, (*chosen, key))
        left = _shared(finer, places)
        if len(finer) > most or left == shared:
            continue  # it varies from slice to slice, or tells nothing apart
        chosen, shared = (*chosen, key), left
        if not shared:
            return chosen, finer
    if whole or not chosen:
        return (), {}
    return chosen, _classes(slices, chosen)


def _by_time(slices: Sequence[Slice], places: Sequence[int], most: int) -> Classes:
    """Repeated passes over all positions, where each ends before the next begins; or phases after a trigger.

    TriggerTime begins anew at each position, and lasts as long as the heart beat there: the first image after the
    trigger at one position belongs to the first at the others, however long each of them took (gated cine images).
    """
    at_place: dict[int, list[int]] = defaultdict(list)
    for index, place in enumerate(places):
        at_place[place].append(index)
    if any(len(members) != most for members in at_place.values()):
        return {}
    for key in TIME_KEYS:
        times = [_seconds(one.times.get(key, "")) for one in slices]
        known = [time for time in times if time is not None]
        if len(known) < len(times):
            continue
        ranked = [sorted(members, key=lambda index: known[index]) for members in at_place.values()]
        passes = [[members[number] for members in ranked] for number in range(most)]
        is_gated = key == "TriggerTime" and _are_phases(slices, passes, known)
        if is_gated or _follow_each_other(slices, passes, key):
            return {(str(number),): members for number, members in enumerate(passes)}
    return {}


def _are_phases(slices: Sequence[Slice], passes: Sequence[Sequence[int]], times: Sequence[float]) -> bool:
    """Whether each image is later than that of the pass before at its position, and no pass mixes kinds of images."""
    rising = all(
        times[before] < times[after]
        for one, following in pairwise(passes)
        for before, after in zip(one, following, strict=True)
    )
    alike = (len({slices[index].keys.get(key) for index in one}) == 1 for one in passes for key in OF_A_PHASE)
    return rising and all(alike)


def _classes(slices: Sequence[Slice], keys: Sequence[str]) -> Classes:
    classes: Classes = defaultdict(list)
    for index, one in enumerate(slices):
        classes[tuple(value_of(one, key) for key in keys)].append(index)
    return dict(classes)


def _shared(classes: Classes, places: Sequence[int]) -> int:
    """Count the images that share class and position with an earlier one."""
    return sum(len(members) - len({places[index] for index in members}) for members in classes.values())


def _seconds(text: str) -> float | None:
    """Turn a DA/TM/DT or a number into something that can be ordered; the offset from UTC is left out."""
    try:
        return float(UTC_OFFSET.sub("", text))
    except ValueError:
        return None


def _rank(value: str) -> tuple[int, float, str]:
    """Numbers by size, then words by name."""
    try:
        return 0, float(value), ""
    except ValueError:
        return 1, 0.0, value
