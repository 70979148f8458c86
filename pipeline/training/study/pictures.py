"""The pictures of a study: losses over steps, gradient norm by layer. They show curves, never a case."""

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.atomic import write_with
from pipeline.evaluation.plots import COLOURS, DPI, dress, save_figure
from pipeline.training.study.course import Gradients
from pipeline.training.study.record import Record, Shape

WIDTH, HEIGHT = 9.2, 3.6
"""Inches of a row of two panels."""

HIGHEST_LOSS = 10.0
"""Top of the loss axes: the first measurements of a deep network in eval mode may lie many powers of ten above."""

SMALLEST_NORM = 1e-30
"""Gradients below it, and those that are zero, are drawn here."""


def save_pictures(folder: Path, records: Sequence[Record]) -> tuple[Path, ...]:
    """Write ``losses.png`` and ``gradients.png``, each with an SVG beside it; return the PNG files."""
    figures = {"losses": draw_losses(records), "gradients": draw_gradients(records)}
    return tuple(_save(figure, folder / f"{name}.png") for name, figure in figures.items())


def draw_losses(records: Sequence[Record]) -> Figure:
    """Training and validation loss in eval mode over steps; a row a norm, a line a seed."""
    norms = _by_norm(records)
    figure, rows = _panels(len(norms))
    for (norm, group), (left, right) in zip(norms, rows, strict=True):
        dress(left, f"Training loss, eval mode (norm: {norm})", "step", "loss")
        dress(right, "Validation loss, eval mode", "step", "loss")
        for record in group:
            points = record.course.points
            steps = [point.step for point in points]
            style = _style(record.shape, records)
            left.plot(steps, [point.train_loss for point in points], **style)
            right.plot(steps, [point.validation_loss for point in points], **style)
        for axes in (left, right):
            axes.set_yscale("log")
            low, high = axes.get_ylim()
            axes.set_ylim(low, min(high, HIGHEST_LOSS))
        _legend(right, group, records)
    return figure


def draw_gradients(records: Sequence[Record]) -> Figure:
    """Norm of the gradient of each layer's weights, at the initial weights and in the last step that was kept."""
    norms = _by_norm(records)
    figure, rows = _panels(len(norms))
    for (norm, group), (left, right) in zip(norms, rows, strict=True):
        dress(left, f"Gradient norm by layer, first step (norm: {norm})", "layer, share of the depth", "norm")
        dress(right, "The same, last step kept", "layer, share of the depth", "norm")
        for record in group:
            style = _style(record.shape, records)
            kept = record.course.gradients
            for axes, entry in ((left, kept[:1]), (right, kept[1:][-1:])):
                for gradients in entry:
                    axes.plot(*_by_depth(gradients), **style)
        for axes in (left, right):
            axes.set_yscale("log")
        _legend(right, group, records)
    return figure


def _by_depth(gradients: Gradients) -> tuple[list[float], list[float]]:
    count = len(gradients.norms)
    finite = [norm if math.isfinite(norm) else math.nan for norm in gradients.norms]
    return [(index + 1) / count for index in range(count)], [max(norm, SMALLEST_NORM) for norm in finite]


def _by_norm(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    ordered = sorted(records, key=lambda record: record.shape.norm)
    return [(norm, list(group)) for norm, group in groupby(ordered, key=lambda record: record.shape.norm)]


def _style(shape: Shape, records: Sequence[Record]) -> dict[str, Any]:
    depths = sorted({record.shape.depth for record in records})
    colour = COLOURS[depths.index(shape.depth) % len(COLOURS)]
    return {"color": colour, "linestyle": "-" if shape.residual else "--", "linewidth": 1.2, "alpha": 0.85}


def _panels(rows: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    figure = Figure(figsize=(WIDTH, HEIGHT * rows), dpi=DPI, layout="constrained")
    return figure, [(left, right) for left, right in figure.subplots(rows, 2, squeeze=False)]


def _legend(axes: Axes, group: Sequence[Record], records: Sequence[Record]) -> None:
    """One entry a shape, whatever the number of seeds."""
    shapes = dict.fromkeys(sorted((record.shape for record in group), key=lambda shape: (shape.depth, shape.residual)))
    handles = [Line2D([], [], label=shape.title.split(",")[0], **_style(shape, records)) for shape in shapes]
    axes.legend(handles=handles, fontsize=8, frameon=False)


def _save(figure: Figure, path: Path) -> Path:
    """Write PNG and SVG without time stamp or version, so that equal curves give equal pictures."""
    save_figure(figure, path)
    plain = {"Date": None, "Creator": None}
    with rc_context({"svg.hashsalt": path.stem}):
        write_with(path.with_suffix(".svg"), lambda temporary: figure.savefig(temporary, format="svg", metadata=plain))
    return path
