"""Learning rate as a function of the step; all but that of a plateau as a closed form, which needs no memory."""

import math
from bisect import bisect_right
from dataclasses import dataclass

MOMENTUM_CYCLE = (0.95, 0.85)
"""Momentum of one cycle at its ends and at its peak (Smith 2018)."""


class Schedule:
    """Factor on the peak learning rate: a linear rise over `warmup` steps, then what the curve says.

    Attributes
    ----------
    warmup : int
        Steps of the rise.
    start : int
        First step of weights that stood still before: zero until then, then a rise of their own up to the curve.
    """

    warmup: int
    start: int

    def __call__(self, step: int) -> float:
        """Factor at an optimizer step, counted from 0."""
        if not self.start:
            return self.curve(step)
        rise = (step - self.start + 1) / max(1, self.warmup)
        return min(self.curve(step), rise) if step >= self.start else 0.0

    def curve(self, step: int) -> float:
        """Factor of weights that train from the first step on."""
        raise NotImplementedError

    def warming(self, step: int) -> float:
        """Linear rise to 1."""
        return (step + 1) / self.warmup if step < self.warmup else 1.0


@dataclass(frozen=True)
class Constant(Schedule):
    """Stays."""

    warmup: int
    start: int = 0

    def curve(self, step: int) -> float:
        """One, behind the rise."""
        return self.warming(step)


@dataclass(frozen=True)
class WarmupCosine(Schedule):
    """Linear rise to 1, then half a cosine down to `final` (Loshchilov and Hutter 2017).

    Attributes
    ----------
    total : int
        In optimizer steps.
    final : float
        Factor at the last step.
    """

    warmup: int
    total: int
    final: float
    start: int = 0

    def curve(self, step: int) -> float:
        """Half a cosine, behind the rise."""
        if step < self.warmup:
            return self.warming(step)
        progress = min(1.0, (step - self.warmup) / max(1, self.total - 1 - self.warmup))
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Half a cosine up, half a cosine down (Smith 2018), as torch's OneCycleLR has it.

    Attributes
    ----------
    total : int
        In optimizer steps.
    rise : float
        Share of them that go up.
    start_divisor, final_divisor : float
        It begins at ``1 / start_divisor`` and ends at that over `final_divisor`.
    """

    total: int
    rise: float
    start_divisor: float
    final_divisor: float
    start: int = 0

    @property
    def warmup(self) -> int:  # type: ignore[override] # follows from the others
        """Steps that go up."""
        return max(1, round(self.rise * self.total))

    def curve(self, step: int) -> float:
        """Up and down."""
        first = 1.0 / self.start_divisor
        return self._between(step, first, 1.0, first / self.final_divisor)

    def momentum(self, step: int) -> float:
        """Momentum at a step: it falls where the learning rate rises."""
        ends, peak = MOMENTUM_CYCLE
        return self._between(step, ends, peak, ends)

    def _between(self, step: int, first: float, peak: float, last: float) -> float:
        top, end = self.rise * self.total - 1.0, self.total - 1.0
        if 0 < top >= step:
            return _cosine(first, peak, step / top)
        return _cosine(peak, last, min(1.0, (step - top) / max(end - top, 1.0)))


@dataclass(frozen=True)
class Steps(Schedule):
    """Falls by `factor` at each of `drops`, in optimizer steps."""

    warmup: int
    factor: float
    drops: tuple[int, ...]
    start: int = 0

    def curve(self, step: int) -> float:
        """Step down, behind the rise."""
        return self.warming(step) * self.factor ** bisect_right(self.drops, step)


@dataclass
class Plateau(Schedule):
    """Falls by `factor`, but not below `least`, when more than `patience` epochs have brought no gain in validation.

    The only schedule with a memory; it is part of the scheduler's state, and so of each checkpoint.
    """

    warmup: int
    factor: float
    patience: int
    least_gain: float
    least: float
    start: int = 0
    reduced: float = 1.0
    best: float = -math.inf
    without_gain: int = 0

    def curve(self, step: int) -> float:
        """Keep what the falls so far have left, behind the rise."""
        return self.warming(step) * self.reduced

    def judge(self, score: float) -> None:
        """Take in the score of an epoch; larger is better."""
        if score > self.best + self.least_gain:
            self.best, self.without_gain = score, 0
            return
        self.without_gain += 1
        if self.without_gain > self.patience:
            self.reduced, self.without_gain = max(self.reduced * self.factor, self.least), 0


def _cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) / 2.0 * (1.0 + math.cos(math.pi * progress))
