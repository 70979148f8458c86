"""What the selection rules would take and drop of a scan folder, by the headers alone: no pixels, no names of anyone.

Series are told by kind: modality, plane and slice thickness. Descriptions are free text and are never shown.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from pipeline.cohort.units import Units, cases_of
from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.geometry import Plane
from pipeline.domain.selection import Selection, SeriesRules, contrast, thickness
from pipeline.domain.series import Discovery, Series
from pipeline.domain.terms import known_modality

LISTED = 12
"""Most kinds of series that one line names."""

PLANES = frozenset(map(str, Plane))

Lines = Iterator[str]


def rehearse(discovery: Discovery, selection: Selection) -> tuple[str, ...]:
    """Say, rule by rule, what is taken and what is dropped, and what cases would come of it.

    Each rule is judged on all series, so that a rule is seen to drop what another one drops too; the last part counts
    what all rules together leave. Channels are judged on what the general rules leave.
    """
    series = discovery.series
    studies = {_study(one) for one in series}
    lines = [f"{len(series)} series of {len(studies)} studies, by their headers: {_kinds(series)}"]
    lines += _judged("select", selection, series)
    wanted = [one for one in series if selection.wants(one)]
    for channel in selection.channels:
        lines += _judged(f"channel {channel.name}", channel, wanted)
        lines.append(f"channel {channel.name}: {_took([one for one in wanted if channel.wants(one)])}")
    lines += _dropped_kinds(series, selection)
    units = cases_of(discovery, selection)
    lines.append(f"Cases: {len(units.candidates)}, before labels and before any pixel is read.")
    lines += _refused(units)
    before = Counter(refusal.code for refusal in discovery.refusals)
    lines += [f"Refused or skipped before the rules, {code}: {count} files" for code, count in sorted(before.items())]
    return tuple(lines)


def _judged(name: str, rules: SeriesRules, series: Sequence[Series]) -> Lines:
    """One line for each rule that is given."""
    dropped = {one.key: set(rules.dropped_by(one)) for one in series}
    for rule in rules.given():
        out = [one for one in series if rule in dropped[one.key]]
        kept = [one for one in series if rule not in dropped[one.key]]
        yield f"{name}.{rule}: {_took(kept)}; drops {len(out)}{_in_brackets(out)}{_unclear(out, rule)}"


def _dropped_kinds(series: Iterable[Series], selection: Selection) -> Lines:
    """For each kind of series that is dropped, the rules that drop it."""
    by: dict[str, Counter[str]] = defaultdict(Counter)
    dropped: Counter[str] = Counter()
    for one in series:
        if rules := list(selection.dropped_by(one)):
            dropped[_kind(one)] += 1
            by[_kind(one)].update(rules)
    for kind in sorted(dropped):
        rules_text = ", ".join(f"{rule} ({count})" for rule, count in sorted(by[kind].items()))
        yield f"Dropped, {kind}: {dropped[kind]} series, by {rules_text}"


def _refused(units: Units) -> Lines:
    """For each code but that of the rules themselves, the studies and series that it costs."""
    by: dict[Code, list[Series]] = defaultdict(list)
    for refusal in units.refusals:
        by[refusal.code].append(refusal.series)
    ambiguous = by.pop(Code.AMBIGUOUS_SERIES, [])
    yield f"Ambiguous studies (AMBIGUOUS_SERIES): {len({_study(one) for one in ambiguous})}{_in_brackets(ambiguous)}"
    for code in sorted(by):
        verb = "Skipped" if code in SKIPS else "Rejected"
        count = f"{len(by[code])} series of {len({_study(one) for one in by[code]})} studies"
        yield f"{verb}, {code}: {count}{_in_brackets(by[code])}"


def _unclear(dropped: Iterable[Series], rule: str) -> str:
    """Count what neither value of a rule would take."""
    count = sum(contrast(one) == "unclear" for one in dropped) if rule == "contrast" else 0
    return f"; unclear, neither with nor without: {count}" if count else ""


def _took(series: Sequence[Series]) -> str:
    return f"takes {len(series)}{_in_brackets(series)}"


def _in_brackets(series: Sequence[Series]) -> str:
    return f" ({_kinds(series)})" if series else ""


def _kinds(series: Iterable[Series]) -> str:
    """Count by kind, the most frequent first."""
    counted = _sorted(Counter(map(_kind, series)))
    shown = [f"{count} x {kind}" for kind, count in counted[:LISTED]]
    more = [f"{len(counted) - LISTED} more kinds"] if len(counted) > LISTED else []
    return "; ".join([*shown, *more])


def _sorted(counted: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))


def _kind(series: Series) -> str:
    """Modality, plane and thickness: terms of the standard and a number, whatever the header holds."""
    plane, thick = series.attributes.get("plane", ""), thickness(series)
    return " ".join(
        [
            series.modality if known_modality(series.modality) else "unknown modality",
            plane if plane in PLANES else "unknown plane",
            "unknown thickness" if thick is None else f"{thick:.3g} mm",
        ]
    )


def _study(series: Series) -> str:
    return series.identity.study_uid or series.key
