"""A report in a few lines, and as numbers for tracking."""

from pipeline.domain.score import Report, Score
from pipeline.evaluation.html import metric_titles


def score_lines(report: Report) -> list[str]:
    """Small table of the scores of each finding, as text."""
    titles = metric_titles()
    rows = [
        (finding.finding, titles.get(score.metric, score.metric), score)
        for finding in report.findings
        for score in finding.scores
    ]
    left, middle = max((len(row[0]) for row in rows), default=0), max((len(row[1]) for row in rows), default=0)
    return [f"{name:<{left}}  {title:<{middle}}  {_shown(score)}" for name, title, score in rows]


def flat_metrics(report: Report, where: str) -> dict[str, float]:
    """``WHERE/FINDING/METRIC`` and its bounds (``/low``, ``/high``); what is not defined is left out."""
    found: dict[str, float] = {}
    for finding in report.findings:
        groups = {"": finding.scores} | {f"{name}/": scores for name, scores in finding.per_class.items()}
        for prefix, scores in groups.items():
            for score in scores:
                name = f"{where}/{finding.finding}/{prefix}{score.metric}"
                known = {name: score.value, f"{name}/low": score.low, f"{name}/high": score.high}
                found |= {key: value for key, value in known.items() if value is not None}
    return found


def _shown(score: Score) -> str:
    if score.value is None:
        return score.note
    if score.low is None or score.high is None:
        return f"{score.value:.3f}  ({score.note})"
    if score.low == score.high:
        return f"{score.value:.3f}  ({score.cases} cases, {score.patients} patients; {score.note})"
    return f"{score.value:.3f}  ({score.low:.3f} to {score.high:.3f}; {score.cases} cases, {score.patients} patients)"
