"""Loss, AUROC and learning rate against epochs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.evaluation.plots import COLOURS, DPI, dress, plain, save_figure

CURVES = "curves.png"
INCHES = (7.2, 8.4)
MARGINS = {"left": 0.1, "right": 0.98, "bottom": 0.06, "top": 0.96, "hspace": 0.22}

Entry = Mapping[str, float]


def save_curves(path: Path, history: Sequence[Entry], best_epoch: int) -> Path:
    """Draw what each epoch measured; a dotted line marks that of the model.

    Parameters
    ----------
    history : sequence of mapping of str to float
        See :attr:`pipeline.training.callbacks.Recorder.history`.
    """
    figure = Figure(figsize=INCHES, dpi=DPI)
    figure.subplots_adjust(**MARGINS)
    loss, auroc, rate = figure.subplots(3, 1, sharex=True)
    _draw(loss, history, {"train/loss": "training, as trained", "overfit/train_loss": "training, as validated"})
    _draw(loss, history, {"val/loss": "validation"}, first=2)
    dress(loss, "Loss")
    # a finding's own curve, not its classes': those would be too many to read
    findings = {name: name.removeprefix("val/auroc/") for name in history[0] if _of_finding(name)}
    _draw(auroc, history, {"val/auroc": "mean"} | (findings if len(findings) > 1 else {}))
    dress(auroc, "AUROC on validation")
    _draw(rate, history, {"learning_rate": "heads" if _by_stage(history) else ""})
    dress(rate, "Learning rate", "Epoch")
    rate.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (loss, auroc, rate):
        axes.axvline(
            best_epoch, color="#777777", linewidth=0.8, linestyle=":", label=f"epoch of the model ({best_epoch})"
        )
        axes.legend(fontsize=7.5, frameon=False)
    return save_figure(figure, path)


def _draw(axes: Axes, history: Sequence[Entry], lines: Mapping[str, str], first: int = 0) -> None:
    for number, (name, label) in enumerate(lines.items(), start=first):
        points = [(entry["epoch"], entry[name]) for entry in history if name in entry]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=COLOURS[number % len(COLOURS)], markersize=2.5,
                      linewidth=1.2, label=plain(label))  # fmt: skip


def _of_finding(name: str) -> bool:
    return name.startswith("val/auroc/") and name.count("/") == 2


def _by_stage(history: Sequence[Entry]) -> bool:
    return any(name.startswith("learning_rate/") for name in history[0])
