"""The files of a search: trials.csv, history.png, importances.png, sweep.html."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from matplotlib.figure import Figure

from pipeline import atomic
from pipeline.evaluation.html import embed
from pipeline.evaluation.plots import COLOURS, DPI, dress, save_figure
from pipeline.training.search.trials import TrialRow

TEMPLATE = Path(__file__).with_name("page.html.jinja")

WIDTH, HEIGHT = 7.4, 3.4
"""Inches."""

MARKERS = {"complete": ("o", COLOURS[0]), "pruned": ("x", COLOURS[1])}


def best_of(rows: Sequence[TrialRow], *, maximise: bool) -> TrialRow | None:
    """Complete trial of the best score, the first of equals; None where none is complete."""
    complete = [row for row in rows if row.state == "complete" and row.value is not None]
    sign = -1.0 if maximise else 1.0
    return min(complete, key=lambda row: (sign * (row.value or 0.0), row.number), default=None)


def write_pages(
    folder: Path, name: str, rows: Sequence[TrialRow], importances: Mapping[str, float], *, objective: str
) -> tuple[Path, ...]:
    """Write the table, the pictures and the page; return them."""
    maximise = objective == "auroc"
    pictures = [save_figure(draw_history(rows, objective, maximise=maximise), folder / "history.png")]
    if importances:
        pictures.append(save_figure(draw_importances(importances), folder / "importances.png"))
    keys = sorted({key for row in rows for key in row.params})
    atomic.write_text(folder / "trials.csv", trial_table(rows, keys))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        name=name,
        rows=rows,
        keys=keys,
        best=best_of(rows, maximise=maximise),
        objective="validation AUROC" if maximise else "validation loss",
        pictures=[embed(path) for path in pictures],
        counts={
            state: sum(row.state == state for row in rows) for state in ("complete", "pruned", "failed", "running")
        },
    )
    atomic.write_text(folder / "sweep.html", page)
    return (*pictures, folder / "trials.csv", folder / "sweep.html")


def trial_table(rows: Sequence[TrialRow], keys: Sequence[str]) -> str:
    """Write one row a trial as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "value", "seconds", "reason", *keys])
    for row in rows:
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        value = "" if row.value is None else repr(row.value)
        settings = [row.params.get(key, "") for key in keys]
        writer.writerow([row.number, row.state, value, seconds, row.reason, *settings])
    return text.getvalue()


def draw_history(rows: Sequence[TrialRow], objective: str, *, maximise: bool) -> Figure:
    """Draw the score of each trial, and the best one so far."""
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    dress(axes, f"Validation {objective.upper() if maximise else objective} by trial", "trial", objective)
    for state, (marker, colour) in MARKERS.items():
        chosen = [(row.number, row.value) for row in rows if row.state == state and row.value is not None]
        if chosen:
            numbers, values = zip(*chosen, strict=True)
            axes.scatter(numbers, values, s=18, marker=marker, color=colour, label=state)
    best: list[tuple[int, float]] = []
    for row in rows:
        if row.state == "complete" and row.value is not None:
            before = best[-1][1] if best else row.value
            best.append((row.number, max(before, row.value) if maximise else min(before, row.value)))
    if best:
        axes.step(*zip(*best, strict=True), where="post", color=COLOURS[2], linewidth=1.2, label="best so far")
        axes.legend(fontsize=8, frameon=False)
    return figure


def draw_importances(importances: Mapping[str, float]) -> Figure:
    """Draw a bar a setting, the largest at the top."""
    names = sorted(importances, key=lambda key: importances[key])
    figure = Figure(figsize=(WIDTH, 1.0 + 0.32 * len(names)), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    dress(axes, "What told good trials from the others (PED-ANOVA)", "share")
    axes.barh(names, [importances[name] for name in names], color=COLOURS[0], height=0.6)
    return figure
