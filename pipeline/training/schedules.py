"""Learning rate as a closed form of the step, so that a resumed run needs no memory of it."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WarmupCosine:
    """Linear rise to 1, then half a cosine down to `final` (Loshchilov and Hutter 2017).

    Attributes
    ----------
    warmup, total : int
        In optimizer steps.
    final : float
        Factor at the last step.
    start : int
        First step of weights that stood still before: zero until then, then a rise of their own up to the curve.
    """

    warmup: int
    total: int
    final: float
    start: int = 0

    def __call__(self, step: int) -> float:
        """Factor on the peak learning rate at a step, counted from 0."""
        if not self.start:
            return self._curve(step)
        rise = (step - self.start + 1) / max(1, self.warmup)
        return min(self._curve(step), rise) if step >= self.start else 0.0

    def _curve(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = min(1.0, (step - self.warmup) / max(1, self.total - 1 - self.warmup))
        return self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * progress))
