"""The model card: what a reviewer reads before a model is used (Mitchell et al. 2019, *Model Cards*)."""

import statistics
from collections.abc import Sequence

from pydantic import Field

from pipeline.domain.finding import Finding
from pipeline.domain.frozen import Frozen
from pipeline.domain.score import Score


class TrainingData(Frozen):
    """What the model has seen, in counts: no identifiers, no dates, no places smaller than a vendor.

    Attributes
    ----------
    labels : dict
        Split to finding to class to number of cases.
    covariates : dict
        Covariate (``vendor``, ``sex``, ...) to value to number of training cases.
    """

    manifest: str
    modality: str
    cases: dict[str, int]
    patients: dict[str, int]
    labels: dict[str, dict[str, dict[str, int]]] = {}
    covariates: dict[str, dict[str, int]] = {}


class FindingScores(Frozen):
    """Scores of one finding on the split that is named."""

    finding: str
    split: str
    scores: tuple[Score, ...]


class Member(Frozen):
    """One network of an ensemble.

    Attributes
    ----------
    name : str
        Of its run folder, e.g. ``fold2-seed0``.
    fold : int or None
        From 1; None where all members trained on the same cases.
    model : str
        Digest of its own package.
    cases : int
        Cases it was scored on: the fold that it did not train on, or the validation split.
    scores : dict of str to Score
        Finding to its one score (:mod:`pipeline.evaluation.headline`) on those cases.
    """

    name: str
    seed: int = Field(ge=0)
    fold: int | None = None
    model: str
    cases: int
    scores: dict[str, Score]


class ModelCard(Frozen):
    """The card of one package.

    Attributes
    ----------
    intended_use : str
        In the words of whoever trained it; says so if none were given.
    limits : tuple of str
        What the model must not be used for and what is not known about it.
    versions : dict of str to str
        Package name to version.
    created : str
        ISO 8601, UTC.
    acknowledged_leaks : int
        Patients, images or near copies that stand in two splits and were acknowledged.
    members : tuple of Member
        Networks of an ensemble, in the order of their weights; empty where there is one network.
    scope : tuple of str
        What scans are compared with, and how many in scope that refuses.
    """

    name: str
    intended_use: str
    data: TrainingData
    findings: tuple[Finding, ...]
    scores: tuple[FindingScores, ...] = ()
    limits: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    created: str
    seed: int = Field(ge=0)
    acknowledged_leaks: int = Field(default=0, ge=0)
    notes: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    scope: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Render as MODEL_CARD.md."""
        blocks = [
            f"# {_plain(self.name)}",
            _section("Intended use", [_plain(self.intended_use)]),
            _section("Findings", [_finding_line(finding) for finding in self.findings]),
            _section("Training data", _data_lines(self.data)),
            _leak_warning(self.acknowledged_leaks),
            *(_score_table(entry) for entry in self.scores),
            _section("Members", _member_lines(self.members)),
            _section("Scope", [f"- {_plain(line)}" for line in self.scope]),
            _section("Limits", [f"- {_plain(line)}" for line in self.limits]),
            _section("Notes", [f"- {_plain(line)}" for line in self.notes]),
            _section("Made with", _made_lines(self)),
        ]
        return "\n\n".join(filter(None, blocks)) + "\n"


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([f"## {title}", "", *lines]) if lines else ""


def _plain(text: str) -> str:
    """Free text on one line, without characters that would start markup or a table cell."""
    return " ".join(text.replace("|", "/").replace("<", "&lt;").split())


def _finding_line(finding: Finding) -> str:
    concept = (
        f" ({finding.concept.scheme} {finding.concept.value}, {finding.concept.meaning})" if finding.concept else ""
    )
    return _plain(f"- {finding.name}: {finding.kind.value}, classes {', '.join(finding.classes)}{concept}")


def _data_lines(data: TrainingData) -> list[str]:
    lines = [f"- modality {data.modality}; manifest `{data.manifest[:16]}`"]
    lines += [
        f"- {split}: {count} cases of {data.patients.get(split, 0)} patients" for split, count in data.cases.items()
    ]
    for split, findings in data.labels.items():
        lines += [f"- {split}, {finding}: {_counts(counts)}" for finding, counts in findings.items()]
    lines += [f"- training cases by {name}: {_counts(counts)}" for name, counts in data.covariates.items()]
    return [_plain(line) for line in lines]


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name or 'not known'} {count}" for name, count in counts.items()) or "none"


def _leak_warning(leaks: int) -> str:
    if not leaks:
        return ""
    return f"**Acknowledged leaks: {leaks}** patients or images stand in two splits; scores may be too high."


def _score_table(entry: FindingScores) -> str:
    head = ["| metric | value | interval | computed on | method |", "|---|---|---|---|---|"]
    return _section(f"Scores: {entry.finding}, {entry.split}", [*head, *map(_score_row, entry.scores)])


def _score_row(score: Score) -> str:
    value = "not defined" if score.value is None else f"{score.value:.3f}"
    known = score.low is not None and score.high is not None
    interval = f"{score.low:.3f} to {score.high:.3f} ({score.level:.0%})" if known else _plain(score.note) or "none"
    where = f"{score.cases} cases, {score.patients} patients"
    return f"| {_plain(score.metric)} | {value} | {interval} | {where} | {_plain(score.method)} |"


def _member_lines(members: Sequence[Member]) -> list[str]:
    """Tabulate each member's scores, with their mean and spread over the members."""
    if not members:
        return []
    findings = list(members[0].scores)
    head = [f"{finding} {members[0].scores[finding].metric}" for finding in findings]
    rows = [["member", "cases", *head], ["---"] * (len(head) + 2)]
    rows += [
        [member.name, str(member.cases), *(_value_and_interval(member.scores[name]) for name in findings)]
        for member in members
    ]
    rows += spread_rows([[member.scores[name].value for member in members] for name in findings])
    said = f"The mean of the logits of {len(members)} networks is calibrated and decided on."
    return [said, "", *(f"| {' | '.join(map(_plain, row))} |" for row in rows)]


def spread_rows(columns: Sequence[Sequence[float | None]]) -> list[list[str]]:
    """Mean, standard deviation (of a sample) and range of the defined values of each column, as rows of a table."""
    known = [[value for value in column if value is not None] for column in columns]
    means = [f"{statistics.fmean(values):.3f}" if values else "not defined" for values in known]
    spreads = [f"{statistics.stdev(values):.3f}" if len(values) > 1 else "not defined" for values in known]
    ranges = [f"{min(values):.3f} to {max(values):.3f}" if values else "not defined" for values in known]
    return [["mean", "", *means], ["standard deviation", "", *spreads], ["lowest to highest", "", *ranges]]


def _value_and_interval(score: Score) -> str:
    value = "not defined" if score.value is None else f"{score.value:.3f}"
    known = score.low is not None and score.high is not None
    return f"{value} ({score.low:.3f} to {score.high:.3f})" if known else value


def _made_lines(card: ModelCard) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(card.versions.items()))
    return [f"- created {card.created}, seed {card.seed}", *([f"- {versions}"] if versions else [])]
