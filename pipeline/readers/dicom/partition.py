"""Slices that are parts of different volumes whatever their places: by StackID, and by the keys that a user names."""

from collections.abc import Mapping, Sequence

from pipeline.readers.dicom.slices import SERIES_KEYS, STRONG_KEYS, Slice

TOLD_KEYS = (
    *STRONG_KEYS,
    *("ComplexImageComponent", "NominalPercentageOfRespiratoryPhase", "FlipAngle", "SequenceName"),
    *SERIES_KEYS,
)
"""Keys of which a volume has one value as a rule; where it has several, a reviewer should know."""

OWN = frozenset({"Rows", "Columns", "PixelSpacing", "SliceThickness"})
"""Attributes that a slice has a field for."""

Part = tuple[Mapping[str, str], list[Slice]]
"""What a part has in common, and its slices."""


def partitions(slices: Sequence[Slice], split_by: Sequence[str]) -> list[Part]:
    """Part slices by StackID (PS3.3 C.7.6.16.2.2.1: frames of one stack belong together) and by the keys asked for.

    StackID says nothing where every frame has one of its own.
    """
    stacks = {one.keys.get("StackID", "") for one in slices}
    names = [*split_by, *(["StackID"] if 1 < len(stacks) < len(slices) else [])]
    if not names:
        return [({}, list(slices))]
    parts: dict[tuple[str, ...], list[Slice]] = {}
    for one in slices:
        parts.setdefault(tuple(value_of(one, name) for name in names), []).append(one)
    return [(dict(zip(names, values, strict=True)), part) for values, part in sorted(parts.items())]


def value_of(one: Slice, name: str) -> str:
    """Value of an attribute of a slice by its keyword, as text; empty where it is absent."""
    if name not in OWN:
        return one.keys.get(name) or one.times.get(name) or one.series.get(name) or ""
    if name == "PixelSpacing":
        return "x".join(f"{value:g}" for value in one.spacing or ())
    own = {"Rows": one.rows, "Columns": one.columns, "SliceThickness": one.thickness}[name]
    return "" if own is None else f"{own:g}"


def difference_notes(slices: Sequence[Slice]) -> tuple[str, ...]:
    """Note attributes of which a volume has one value, and its slices several: they may be two volumes.

    Where every slice has a value of its own, the attribute says nothing of the volume.
    """
    counts = {key: len({value_of(one, key) for one in slices}) for key in TOLD_KEYS}
    several = [key for key, count in counts.items() if 1 < count < len(slices)]
    merged = ": two series may have been merged into one"
    return tuple(f"its slices differ in {key}{merged if key in SERIES_KEYS else ''}" for key in several)


def split_notes(split_by: Sequence[str]) -> tuple[str, ...]:
    """Note that a series was split because it was asked for."""
    return (f"SPLIT: by {', '.join(split_by)}, as read.split_by asks",) if split_by else ()
