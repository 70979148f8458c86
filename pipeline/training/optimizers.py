"""The optimizers of training, with their parameters in groups that decay and groups that do not."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

OptimizerName = Literal["adamw", "sgd"]

MOMENTUM = 0.9
"""Of SGD, in Nesterov's form, and the first beta of AdamW."""

SECOND_BETA = 0.999
"""Memory of AdamW for squared gradients."""


def split_by_decay(parameters: Iterable[nn.Parameter]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Those that decay: kernels and matrices; and those that do not: biases, scale and offset of norms."""
    listed = list(parameters)
    return [p for p in listed if p.ndim > 1], [p for p in listed if p.ndim <= 1]


def make_optimizer(
    name: OptimizerName,
    groups: Sequence[dict[str, Any]],
    learning_rate: float,
    momentum: float = MOMENTUM,
    second_beta: float = SECOND_BETA,
    *,
    fused: bool = False,
) -> Optimizer:
    """AdamW, or SGD with Nesterov momentum.

    Parameters
    ----------
    groups : sequence of dict
        Arguments of a torch optimizer; a group without ``lr`` learns at `learning_rate`.
    momentum : float
        Of SGD; the first beta of AdamW.
    second_beta : float
        Of AdamW.
    fused : bool
        Step all of AdamW in one pass over memory. It unscales gradients by itself, so not where a scaler does.
    """
    if name == "adamw":
        return AdamW(groups, lr=learning_rate, betas=(momentum, second_beta), fused=fused)
    return SGD(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0)
