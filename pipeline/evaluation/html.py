"""report.html: one page without scripts or outside references, for a reviewer."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from pipeline.config import parts
from pipeline.domain.score import FindingReport, Report, Score

TEMPLATE = Path(__file__).with_name("report.html.jinja")

HEADLINES = ("auroc", "macro_auroc", "sensitivity", "specificity", "accuracy", "quadratic_kappa")
"""Scores that stand large at the top of a finding, as far as it has them."""

EXTRA_TITLES = {
    "macro_auroc": "Macro AUROC",
    "macro_average_precision": "Macro average precision",
    "ppv_at_prevalence": "PPV at stated prevalence",
    "npv_at_prevalence": "NPV at stated prevalence",
}


def render(report: Report, plots: Mapping[str, Sequence[Path]], facts: Mapping[str, str]) -> str:
    """Render the page.

    Parameters
    ----------
    plots : mapping
        Finding name to its PNG files; they are embedded.
    facts : mapping of str to str
        What else stands in the table of how it was computed: name of the model, version, ... No patient data.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = number
    environment.filters["interval"] = interval
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    titles = metric_titles()
    return template.render(
        report=report,
        facts=dict(facts),
        warnings=[*report.warnings, *(text for finding in report.findings for text in finding.warnings)],
        titles=titles,
        headlines={finding.finding: headlines(finding) for finding in report.findings},
        plots={name: [embed(path) for path in files] for name, files in plots.items()},
    )


def metric_titles() -> dict[str, str]:
    """Metric name to what people read."""
    configs = [config.from_mapping({}) for _, config in parts("pipeline.evaluation.metrics")]
    return {config.kind: config.build().title for config in configs} | EXTRA_TITLES  # type: ignore[attr-defined]


def headlines(finding: FindingReport) -> list[Score]:
    """Scores that stand at the top, in the order of :data:`HEADLINES`."""
    known = {score.metric: score for score in finding.scores}
    return [known[name] for name in HEADLINES if name in known]


def number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "–" if value is None else f"{value:.3f}"


def interval(score: Score) -> str:
    """``0.812 to 0.931``, or a dash; an interval without width is none, and the score's note says so."""
    if score.low is None or score.high is None or score.low == score.high:
        return "–"
    return f"{score.low:.3f} to {score.high:.3f}"


def embed(path: Path) -> str:
    """PNG file as a data URI."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
