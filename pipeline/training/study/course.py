"""What one network's training left: losses, AUROC and gradients by step."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.domain.frozen import Frozen


class Point(Frozen):
    """Measured in eval mode after a number of steps.

    Attributes
    ----------
    step : int
        Steps made before; 0 are the initial weights.
    train_loss : float
        On the fixed training cases, as prepared.
    validation_loss : float
        On the whole validation split.
    auroc : float or None
        On validation, mean over findings; None where it is not defined.
    """

    step: int = Field(ge=0)
    train_loss: float
    validation_loss: float
    auroc: float | None


class Gradients(Frozen):
    """Norm of the loss's gradient with respect to each layer's weights in one step.

    Attributes
    ----------
    step : int
        Steps made before it.
    norms : tuple of float
        Euclidean, of each layer of :attr:`Course.layers`; not clipped. NaN or infinite as they came.
    """

    step: int = Field(ge=0)
    norms: tuple[float, ...]


class Course(Frozen):
    """The training of one network.

    Attributes
    ----------
    layers : tuple of str
        Convolutions from the image to the head, those of shortcuts left out: the layers that a depth counts.
    losses : tuple of float
        Of each step on its batch, in training mode.
    points : tuple of Point
    gradients : tuple of Gradients
    diverged_at : int or None
        The step (from 0) at which the loss, or the point at which a logit, was not finite; training ended there.
    seconds_per_step : float
        Median of the training steps, measurements left out.
    """

    layers: tuple[str, ...]
    losses: tuple[float, ...]
    points: tuple[Point, ...]
    gradients: tuple[Gradients, ...]
    diverged_at: int | None = None
    seconds_per_step: float = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(len(entry.norms) != len(self.layers) for entry in self.gradients):
            raise ValueError("every gradient must have one norm a layer")
        return self

    @property
    def best(self) -> Point | None:
        """The first point of the highest AUROC on validation; None without any AUROC."""
        scored = [point for point in self.points if point.auroc is not None]
        return max(scored, key=lambda point: point.auroc or 0.0, default=None)
