"""The nouns: a candidate, its trial, and the choice that a run keeps."""

from typing import Literal, NamedTuple

import torch

from pipeline.domain.frozen import Frozen

Precision = Literal["32", "tf32", "bf16-mixed", "16-mixed"]
"""As Lightning names them; ``tf32`` is float32 whose products a GPU rounds to 10 bits of mantissa."""

Layout = Literal["contiguous", "channels_last"]

ROUNDING = (0.01, 0.35)
"""Difference of a gradient, as a share of its norm, that is told as what half precision usually makes of it."""

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Candidate(NamedTuple):
    """What may be tried."""

    precision: Precision
    layout: Layout
    kept: tuple[str, ...] = ()
    """Layers that stay in float32."""
    compiled: bool = False


class Trial(Frozen):
    """One candidate, as measured.

    Attributes
    ----------
    seconds : float
        One forward and backward pass of the batch; 0 where it did not come to an end.
    kept : tuple of str
        Names of layers that were kept in float32.
    loss_change : float
        Relative to float32.
    gradient_error : float
        Of the worst tensor; see :data:`pipeline.training.precision.judging.LARGEST_GRADIENT_ERROR`.
    wrong : tuple of str
        Parameters whose gradient is not finite or not close, where the loss is.
    problem : str
        Why it cannot be trusted; empty if it can.
    usable : bool
        False where it did not come to an end or gave what is not finite: no training can live with that.
    """

    precision: Precision
    layout: Layout
    seconds: float
    kept: tuple[str, ...] = ()
    compiled: bool = False
    loss_change: float = 0.0
    gradient_error: float = 0.0
    wrong: tuple[str, ...] = ()
    problem: str = ""
    usable: bool = True

    @property
    def verdict(self) -> str:
        """How far it may be trusted, in words."""
        loss, gradient = f"{self.loss_change:.2%}", f"{self.gradient_error:.0%}"
        is_usual = self.precision in HALF and ROUNDING[0] <= self.gradient_error <= ROUNDING[1]
        usual = ", as rounding makes it" if is_usual else ""
        return self.problem or f"the loss differs by {loss}, the gradient of the worst weights by {gradient}{usual}"

    @property
    def text(self) -> str:
        """One line for the log."""
        kept = f", {len(self.kept)} layers in float32" if self.kept else ""
        compiled = ", compiled" if self.compiled else ""
        return f"{self.precision}, {self.layout}{kept}{compiled}: {self.seconds:.3f} s; {self.verdict}"


class PrecisionChoice(Frozen):
    """What training uses, and why. Kept with the run: a resumed one must not choose again.

    Attributes
    ----------
    kept : tuple of str
        Names of layers that stay in float32; see :func:`pipeline.training.precision.kept.keep_in_float32`.
    """

    precision: Precision = "32"
    layout: Layout = "contiguous"
    kept: tuple[str, ...] = ()
    compiled: bool = False
    reason: str
    trials: tuple[Trial, ...] = ()

    @property
    def lightning(self) -> Literal["32", "bf16-mixed", "16-mixed"]:
        """Lightning's name of the precision."""
        return "32" if self.precision == "tf32" else self.precision

    @property
    def note(self) -> str:
        """A sentence for the card of the model."""
        but = f", but for {', '.join(self.kept)} in float32" if self.kept else ""
        compiled = ", compiled" if self.compiled else ""
        return f"Trained in {self.precision}{but}{compiled}: {self.reason}."

    def memory_format(self, ndim: int) -> torch.memory_format:
        """Torch's name of the layout."""
        return memory_format_of(self.layout, ndim)


def memory_format_of(layout: Layout, ndim: int) -> torch.memory_format:
    """Torch's name of a layout of images with so many spatial axes."""
    if layout == "contiguous":
        return torch.contiguous_format
    return torch.channels_last_3d if ndim == 3 else torch.channels_last
