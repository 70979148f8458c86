"""What a range test measured, and which learning rate follows from it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline import atomic
from pipeline.domain.frozen import Frozen
from pipeline.errors import TrainingError
from pipeline.evaluation.plots import DPI, dress, save_figure

SMOOTHING = 0.9
"""Memory of the moving average of the loss, whose start is corrected for."""

LAG = round(SMOOTHING / (1.0 - SMOOTHING))
"""Steps by which the average comes late, and by which what is read from it is moved back."""

BEGINNING = 0.1
"""Share of the steps over which the loss at the start is averaged, and in which no rate is chosen."""

LEAST_FALL = 0.02
"""Share of the loss at the start by which it must fall for a rate to be chosen."""

DECADE = 10.0

INCHES = (6.0, 4.0)


class RateCurve(Frozen):
    """Loss by learning rate. Kept with the run: a resumed one must not choose again.

    Attributes
    ----------
    rates, losses : tuple of float
        Of each step, as far as the losses were finite.
    smoothed : tuple of float
        The losses, averaged over the steps before.
    steepest, below_divergence, chosen : float
        Rates; see :class:`pipeline.training.rate_finder.settings.RateFinderSettings`.
    diverged : bool
        Whether the loss came back to where it began; else the highest rate stands for that.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    below_divergence: float
    chosen: float
    diverged: bool

    @property
    def note(self) -> str:
        """One sentence for the log and the card."""
        turned = "the loss was back at its beginning at" if self.diverged else "the loss still held at"
        return (
            f"Learning rate {self.chosen:.2e}, found by trying {self.rates[0]:.0e} to {self.rates[-1]:.0e}: the loss "
            f"fell fastest at {self.steepest:.2e}; {turned} {self.below_divergence * DECADE:.2e}."
        )


def smooth(losses: Sequence[float]) -> NDArray[np.float64]:
    """Average each loss with those before, by weights that fall exponentially and add up to 1."""
    total, weight, found = 0.0, 0.0, []
    for loss in losses:
        total = SMOOTHING * total + (1.0 - SMOOTHING) * loss
        weight = SMOOTHING * weight + (1.0 - SMOOTHING)
        found.append(total / weight)
    return np.asarray(found)


def choose_rate(
    rates: Sequence[float], losses: Sequence[float], choose: Literal["steepest", "below_divergence"]
) -> RateCurve:
    """Choose a rate from the losses of rising ones.

    Raises
    ------
    TrainingError
        The loss fell at no rate.
    """
    smoothed = smooth(losses)
    first = max(2, round(BEGINNING * len(rates)))
    start = float(np.mean(losses[:first])) if losses else np.nan
    lowest = int(np.argmin(smoothed)) if len(losses) > first else 0
    if lowest < first or smoothed[lowest] > start * (1.0 - LEAST_FALL):
        raise TrainingError(
            f"No learning rate was found: between {rates[0]:.0e} and {rates[-1]:.0e} the loss never fell below the "
            f"{start:.4f} it began with.",
            "Set training.learning_rate and switch training.rate_finder off, or let it try other rates or more steps.",
        )
    slope = np.gradient(smoothed[: lowest + 1], np.log(rates[: lowest + 1]))
    steepest = rates[max(0, first + int(np.argmin(slope[first:])) - LAG)]
    back = np.flatnonzero(smoothed[lowest:] >= start)
    below = (rates[max(0, lowest + int(back[0]) - LAG)] if len(back) else rates[-1]) / DECADE
    return RateCurve(
        rates=tuple(rates),
        losses=tuple(losses),
        smoothed=tuple(smoothed.tolist()),
        steepest=steepest,
        below_divergence=below,
        chosen=steepest if choose == "steepest" else below,
        diverged=bool(len(back)),
    )


def save_curve(folder: Path, curve: RateCurve) -> tuple[Path, Path]:
    """Write ``learning_rate.csv`` and ``learning_rate.png``."""
    rows = zip(curve.rates, curve.losses, curve.smoothed, strict=True)
    lines = ["learning_rate,loss,smoothed", *(f"{rate:.6g},{loss:.6g},{mean:.6g}" for rate, loss, mean in rows)]
    table = folder / "learning_rate.csv"
    atomic.write_text(table, "\n".join(lines) + "\n")
    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve.rates, curve.losses, ".", color="#bbbbbb", markersize=3, label="each step")
    axes.plot(curve.rates, curve.smoothed, color="#1f4e79", linewidth=1.4, label="smoothed")
    axes.axvline(curve.chosen, color="#b03030", linewidth=1.0, linestyle="--", label=f"chosen, {curve.chosen:.2e}")
    axes.set_xscale("log")
    axes.set_ylim(0.0, 1.5 * max(curve.smoothed[: len(curve.smoothed) // 2 + 1]))
    dress(axes, "Loss by learning rate", "Learning rate", "Loss of training")
    axes.legend(fontsize=8, frameon=False)
    return table, save_figure(figure, folder / "learning_rate.png")
