"""Gradients, residual branches and updates drawn against depth."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from pipeline.evaluation.plots import DPI, dress, save_figure
from pipeline.training.watch.measures import DepthRecord, Figures

MOST_LINES = 6
"""Steps drawn, evenly chosen among the measured ones, the first and the last included."""

INCHES = (7.2, 8.4)
MARGINS = {"left": 0.09, "right": 0.98, "bottom": 0.06, "top": 0.96, "hspace": 0.16}
USUAL_UPDATE = 1e-3
"""Update by weights per step that is a common rule of thumb."""


def save_chart(path: Path, records: Sequence[DepthRecord]) -> Path:
    """Write three panels over the places of the network, a line for each of some measured steps."""
    shown = [records[number] for number in _chosen(len(records))]
    figure = Figure(figsize=INCHES, dpi=DPI)
    figure.subplots_adjust(**MARGINS)
    gradient, residual, update = figure.subplots(3, 1, sharex=True)
    _draw(gradient, shown, lambda record: record.gradient, "Norm of the gradient", "before clipping")
    _draw(residual, shown, lambda record: record.residual, "Residual branch by shortcut", "|F(x)| / |x| at the sum")
    _draw(update, shown, _update_by_weight, "Update by weights", f"of one step; dotted {USUAL_UPDATE:g}")
    update.axhline(USUAL_UPDATE, color="#777777", linewidth=0.8, linestyle=":")
    if not any(record.residual for record in shown):
        residual.text(0.5, 0.5, "no shortcuts", transform=residual.transAxes, ha="center", fontsize=9, color="#777777")
    gradient.legend(fontsize=7.5, frameon=False, ncols=2)
    _mark_stages(update, shown[-1])
    return save_figure(figure, path)


def _draw(
    axes: Axes, shown: Sequence[DepthRecord], figures_of: Callable[[DepthRecord], Figures], title: str, detail: str
) -> None:
    colours = colormaps["viridis"](np.linspace(0.9, 0.1, len(shown)))
    for record, colour in zip(shown, colours, strict=True):
        figures = figures_of(record)
        values = [figures.get(place, np.nan) for place in record.stages]
        drawn = [value if np.isfinite(value) and value > 0 else np.nan for value in values]  # the axis is logarithmic
        axes.plot(drawn, "o-", color=colour, markersize=2.5, linewidth=1.1, label=f"step {record.step}")
    axes.set_yscale("log", subs=[])  # no minor ticks, which take most of the time of drawing
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    dress(axes, f"{title} ({detail})")
    stages = list(shown[-1].stages.values())
    for number in range(1, len(stages)):
        if stages[number] != stages[number - 1]:
            axes.axvline(number - 0.5, color="#bbbbbb", linewidth=0.7, linestyle="--")


def _update_by_weight(record: DepthRecord) -> Figures:
    return {place: norm / record.weight[place] for place, norm in record.update.items() if record.weight[place] > 0}


def _mark_stages(axes: Axes, record: DepthRecord) -> None:
    """Name each stage below the middle of its places."""
    stages = list(record.stages.values())
    names = list(dict.fromkeys(stages))
    middles = [float(np.mean([number for number, stage in enumerate(stages) if stage == name])) for name in names]
    axes.set_xticks(middles, names, fontsize=8)
    axes.set_xlabel("From the image to the logits: a point for each block", fontsize=9)


def _chosen(count: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, MOST_LINES)).round().astype(int).tolist()))
