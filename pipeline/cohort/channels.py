"""Several series of a study as the channels of one case: which series fills which channel, or why there is no case."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.cohort.choosing import preference, tell_apart
from pipeline.cohort.describe import SeriesSummary
from pipeline.domain.codes import Code
from pipeline.domain.selection import Selection
from pipeline.domain.series import Series
from pipeline.errors import RejectedInput
from pipeline.readers.stacking import check_fit


@dataclass(frozen=True, slots=True)
class Filled:
    """One study against the channels.

    Attributes
    ----------
    slots : tuple of Series or None
        One for each channel; None where it is empty. All None: there is no case.
    others : tuple of (Series, Code, str)
        Series that are in no channel, and why.
    """

    slots: tuple[Series | None, ...]
    others: tuple[tuple[Series, Code, str], ...]


def fill_channels(members: Sequence[Series], selection: Selection) -> Filled:
    """Put the series of one study into the channels of `selection`.

    Each channel takes exactly one series, and no series fills two. Where that cannot be, the study is refused whole:
    AMBIGUOUS_SERIES, MISSING_SERIES, or DOES_NOT_FIT where its series have no common coordinates or modality.
    """
    channels = selection.channels
    fitting = {channel.name: [one for one in members if channel.wants(one)] for channel in channels}
    wanted = {one.key for found in fitting.values() for one in found}
    unused = [(one, Code.NOT_SELECTED, "the rules of no channel admit it") for one in members if one.key not in wanted]
    kept = [one for one in members if one.key in wanted]
    for series in kept:
        names = [name for name, found in fitting.items() if series in found]
        if len(names) > 1:
            message = f"the rules of several channels admit one series: {', '.join(names)}"
            return _refused(channels, kept, Code.AMBIGUOUS_SERIES, message, unused)
    slots: list[Series | None] = []
    for name, found in fitting.items():
        if len(found) > 1 and selection.several == "refuse":
            message = f"{len(found)} series of this study are left for channel {name}: {tell_apart(found)}"
            return _refused(channels, kept, Code.AMBIGUOUS_SERIES, message, unused)
        ordered = sorted(found, key=preference)
        slots.append(ordered[0] if ordered else None)
        message = f"another series of this study is chosen for channel {name}"
        unused += [(one, Code.NOT_SELECTED, message) for one in ordered[1:]]
    missing = [channel.name for channel, slot in zip(channels, slots, strict=True) if slot is None]
    chosen = [slot for slot in slots if slot is not None]
    if missing and (selection.missing == "reject" or slots[0] is None):
        message = f"this study has no series for channel {', '.join(missing)}"
        return _refused(channels, chosen, Code.MISSING_SERIES, message, unused)
    if trouble := _no_common_space(chosen):
        return _refused(channels, chosen, Code.DOES_NOT_FIT, trouble, unused)
    return Filled(tuple(slots), tuple(unused))


def unstackable(slots: Sequence[Series | None], summaries: Sequence[SeriesSummary]) -> RejectedInput | None:
    """Why the series of a case, once read, cannot lie on one grid; None: they can, or it is a single one.

    Parameters
    ----------
    summaries : sequence of SeriesSummary
        One for each slot that is filled.
    """
    if len(slots) == 1:
        return None
    rest = iter(summaries)
    parts = [None if slot is None else next(rest) for slot in slots]
    try:
        check_fit([None if one is None or one.geometry is None else (one.geometry, one.channels) for one in parts])
    except RejectedInput as error:
        return error
    return None


def _refused(
    channels: Sequence[object],
    kept: Sequence[Series],
    code: Code,
    message: str,
    unused: Sequence[tuple[Series, Code, str]],
) -> Filled:
    return Filled((None,) * len(channels), (*((one, code, message) for one in kept), *unused))


def _no_common_space(chosen: Sequence[Series]) -> str:
    """Say why series cannot be laid over each other; empty: they can.

    Coordinates compare only within one frame of reference (PS3.3 C.7.4.1): where a header does not say which, they are
    not laid over each other by guess.
    """
    if len({one.modality for one in chosen}) > 1:
        return "the series for its channels are of different modalities"
    frames = {one.attributes.get("frame_of_reference", "") for one in chosen}
    if len(chosen) > 1 and (len(frames) > 1 or "" in frames):
        return "the series for its channels do not share one FrameOfReferenceUID, so that their places do not compare"
    return ""
