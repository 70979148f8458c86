"""What MLflow shows of an ensemble, beside its members' own runs."""

from collections.abc import Sequence

import numpy as np

from pipeline.package.card import Member
from pipeline.package.package import ModelPackage
from pipeline.stages.training_review import score_table


def metrics_of(members: Sequence[Member], *, summed: bool = False) -> dict[str, float]:
    """Scores of one member, or their mean and standard deviation, for the journal."""
    found: dict[str, float] = {}
    for finding, first in members[0].scores.items():
        values = [value for member in members if (value := member.scores[finding].value) is not None]
        name = f"{finding}_{first.metric}"
        if summed and values:
            found[f"members/{name}_mean"] = float(np.mean(values))
            if len(values) > 1:
                found[f"members/{name}_std"] = float(np.std(values, ddof=1))
        elif values:
            found[f"member/{name}"] = values[0]
    return found


def metrics_of_whole(package: ModelPackage) -> dict[str, float]:
    """Scores of the ensemble itself, for the journal."""
    return {
        f"ensemble/{entry.finding}_{score.metric}": score.value
        for entry in package.card.scores
        for score in entry.scores
        if score.value is not None
    }


def description(package: ModelPackage) -> str:
    """Summarise an ensemble in Markdown, as its page in MLflow begins."""
    card = package.card
    names = [finding.name for finding in card.findings]
    lines = [f"Modality {card.data.modality}. Ensemble of {package.members} networks.", ""]
    lines += [f"| member | cases | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for member in card.members:
        values = (member.scores[name].value for name in names)
        cells = ("not defined" if value is None else f"{value:.3f}" for value in values)
        lines.append(f"| {member.name} | {member.cases} | {' | '.join(cells)} |")
    return score_table(package, lines, card.notes, "confusion, hardest cases; curves stand with the members")
