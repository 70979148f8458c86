"""ROC, precision-recall and calibration curves as PNG files. They show curves and counts, never a case."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.atomic import write_with
from pipeline.domain.score import FindingReport, Reliability, Score
from pipeline.evaluation.intervals import Bootstrap
from pipeline.evaluation.sample import Sample
from pipeline.evaluation.samples import Answers

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]

INCHES, DPI = 4.6, 130
GRID: NDArray[np.float64] = np.linspace(0.0, 1.0, 201)
MARGINS = {"left": 0.13, "right": 0.97, "bottom": 0.11, "top": 0.94}
COLOURS = ("#1b5e9b", "#c2571a", "#2e7d4f", "#8a3f8f", "#9c8a1a", "#2a8a94", "#a33b52", "#5b5b5b")
"""One a class, repeated beyond eight."""

BAND_RESAMPLES = 500
"""Resamples that the band of the ROC curve rests on."""


def save_plots(folder: Path, answers: Answers, report: FindingReport, bootstrap: Bootstrap) -> tuple[Path, ...]:
    """Write ``roc_``, ``precision_recall_`` and ``calibration_FINDING.png``; curves that are not defined are left out.

    Parameters
    ----------
    answers : Answers
        What `report` was made from, with the resamples of `bootstrap`.
    """
    scored = {
        name: sample for name, sample in answers.binary_samples().items() if 0 < sample.positive.sum() < sample.cases
    }
    figures: dict[str, Figure] = {}
    if scored:
        figures["roc"] = _roc(scored, answers, report, bootstrap)
        figures["precision_recall"] = _precision_recall(scored, answers, report)
    if report.reliability is not None and report.reliability.expected_calibration_error is not None:
        figures["calibration"] = _calibration(report.reliability, report.finding)
    return tuple(save_figure(figure, folder / f"{name}_{report.finding}.png") for name, figure in figures.items())


def roc_points(sample: Sample, weights: NDArray[np.float64] | None = None) -> Curve:
    """Give false and true positive rates at every distinct score, from (0, 0) to (1, 1)."""
    order, last, ordered = _descending(sample, weights)
    ups = np.cumsum(ordered * sample.positive[order])[last]
    downs = np.cumsum(ordered * ~sample.positive[order])[last]
    return np.concatenate([[0.0], downs / downs[-1]]), np.concatenate([[0.0], ups / ups[-1]])


def precision_recall_points(sample: Sample) -> Curve:
    """Recall and precision at every distinct score, falling scores first."""
    order, last, ordered = _descending(sample, None)
    ups, called = np.cumsum(ordered * sample.positive[order])[last], np.cumsum(ordered)[last]
    return ups / ups[-1], ups / called


def _descending(
    sample: Sample, weights: NDArray[np.float64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Order of falling score, the last case of each group of equal scores in it, and the ordered weights."""
    order = np.argsort(-sample.score, kind="stable")
    scores = sample.score[order]
    last = np.flatnonzero(np.concatenate([scores[1:] != scores[:-1], [True]]))
    return order, last, (np.ones(sample.cases) if weights is None else weights)[order]


def roc_band(sample: Sample, bootstrap: Bootstrap) -> Curve | None:
    """Pointwise interval of the true positive rate over :data:`GRID`; None if few resamples have both classes."""
    rows = list(islice((row for chunk in bootstrap.weights(sample) for row in chunk), BAND_RESAMPLES))
    both = [row for row in rows if 0 < row @ sample.positive < row.sum()]
    if len(both) < len(rows) / 2:
        return None
    curves = []
    for row in both:
        false, true = roc_points(sample, row)
        curves.append(np.interp(GRID, false, true))
    tail = (1.0 - bootstrap.level) / 2.0
    low, high = np.quantile(np.array(curves), [tail, 1.0 - tail], axis=0)
    return low, high


def _roc(scored: Mapping[str, Sample], answers: Answers, report: FindingReport, bootstrap: Bootstrap) -> Figure:
    figure, axes = _square(f"ROC: {report.finding}", "1 - specificity", "Sensitivity")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    for (name, sample), colour in zip(scored.items(), _colours(len(scored)), strict=True):
        band = roc_band(sample, bootstrap)
        if band is not None and len(scored) <= 3:
            axes.fill_between(GRID, *band, color=colour, alpha=0.15, linewidth=0)
        axes.plot(*roc_points(sample), color=colour, label=_label(name, "auroc", "AUROC", report))
    if answers.point is not None and (whole := answers.whole()) is not None:
        positive, called = whole.positive, whole.decided == 1
        label = f"operating point (p ≥ {answers.point.threshold:.3f}, {answers.point.rule})"
        spot = (called[~positive].mean(), called[positive].mean())
        axes.plot(*spot, "o", color="#111111", markersize=6, label=label, zorder=5)
    return _finish(figure, axes, "lower right")


def _precision_recall(scored: Mapping[str, Sample], answers: Answers, report: FindingReport) -> Figure:
    figure, axes = _square(f"Precision and recall: {report.finding}", "Recall (sensitivity)", "Precision (PPV)")
    for (name, sample), colour in zip(scored.items(), _colours(len(scored)), strict=True):
        recall, precision = precision_recall_points(sample)
        label = _label(name, "average_precision", "AP", report)
        axes.step(
            np.concatenate([[0.0], recall]), np.concatenate([precision[:1], precision]), color=colour, label=label
        )
        axes.axhline(sample.positive.mean(), color=colour, linewidth=0.8, linestyle=":")
    if answers.point is not None and (whole := answers.whole()) is not None and (whole.decided == 1).any():
        called = whole.decided == 1
        spot = (called[whole.positive].mean(), whole.positive[called].mean())
        axes.plot(*spot, "o", color="#111111", markersize=6, label="operating point", zorder=5)
    axes.plot([], [], color="#555555", linewidth=0.8, linestyle=":", label="prevalence")
    return _finish(figure, axes, "lower left")


def _calibration(found: Reliability, name: str) -> Figure:
    figure = Figure(figsize=(INCHES, INCHES * 1.25), dpi=DPI)
    axes, counts = figure.subplots(2, 1, height_ratios=[4, 1], sharex=True)
    figure.subplots_adjust(**MARGINS, hspace=0.08)
    _dress(axes, f"Calibration: {name}", "", "Observed frequency")
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":", label="perfect")
    full = [(b.predicted, b.observed, b.low, b.high) for b in found.bins if b.cases]
    predicted, observed, low, high = np.array(full, dtype=float).T
    axes.errorbar(
        predicted,
        observed,
        yerr=np.maximum([observed - low, high - observed], 0.0),
        fmt="o-",
        color=COLOURS[0],
        markersize=4,
        linewidth=1.2,
        elinewidth=0.8,
        capsize=2,
        label=f"ECE {found.expected_calibration_error:.3f} ({len(found.bins)} bins)",
    )
    axes.legend(loc="upper left", fontsize=8, frameon=False)
    width = 1.0 / len(found.bins)
    counts.bar([b.lower for b in found.bins], [b.cases for b in found.bins], width, align="edge", color="#8fb0cf")
    counts.set_ylabel("Cases", fontsize=8)
    counts.set_xlabel(f"Predicted probability of {plain(found.of)}", fontsize=9)
    counts.tick_params(labelsize=8)
    counts.spines[["top", "right"]].set_visible(False)
    return figure


def _label(name: str, metric: str, short: str, report: FindingReport) -> str:
    scores: tuple[Score, ...] = report.per_class.get(name, report.scores)
    score = next(score for score in scores if score.metric == metric)
    prefix = f"{plain(name)}: " if report.per_class else ""
    if score.value is None:
        return f"{prefix}{short} not defined"
    interval = "" if score.low is None or score.high is None else f" ({score.low:.3f} to {score.high:.3f})"
    return f"{prefix}{short} {score.value:.3f}{interval}"


def plain(text: str) -> str:
    """Text that matplotlib takes for text, not for a formula."""
    return text.replace("$", r"\$")


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _square(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(INCHES, INCHES), dpi=DPI)
    axes = figure.subplots()
    figure.subplots_adjust(**MARGINS)
    _dress(axes, title, x, y)
    axes.set_aspect("equal")
    return figure, axes


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    dress(axes, title, x, y)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)


def dress(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    """Give axes the title, labels, grid and frame that all our charts have."""
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _finish(figure: Figure, axes: Axes, where: Literal["lower right", "lower left"]) -> Figure:
    axes.legend(loc=where, fontsize=7.5, frameon=False)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a PNG without a time stamp or version, so that equal curves give equal bytes."""
    FigureCanvasAgg(figure)
    write_with(path, lambda temporary: figure.savefig(temporary, format="png", metadata={"Software": None}))
    return path
