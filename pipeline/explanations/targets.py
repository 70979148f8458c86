"""Which logit is explained, and which class of an answer."""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.domain.encoding import output_slices
from pipeline.domain.finding import Finding, FindingKind


class Target(NamedTuple):
    """A column of the network's output, and whether it speaks for the class (1) or against it (-1)."""

    column: int
    sign: int


def target_of(findings: Sequence[Finding], finding: str, label: str) -> Target:
    """Find the logit of a class; see :meth:`pipeline.explanations.explainer.Explainer.heatmap`.

    Parameters
    ----------
    findings : sequence of Finding
        Of the network, in the order of its outputs.
    """
    names = [one.name for one in findings]
    assert finding in names, f"the network has no finding {finding!r}, it has {names}"
    number = names.index(finding)
    chosen, first = findings[number], output_slices(findings)[number].start
    assert label in chosen.classes, f"{finding} has no class {label!r}, it has {list(chosen.classes)}"
    place = chosen.classes.index(label)
    match chosen.kind:
        case FindingKind.BINARY:
            return Target(first, 1 if place else -1)
        case FindingKind.ORDINAL:
            return Target(first + max(0, place - 1), 1 if place else -1)
        case _:
            return Target(first + place, 1)
