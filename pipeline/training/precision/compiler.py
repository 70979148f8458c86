"""torch.compile as training uses it: for one shape, drawing what it would draw without, in this process alone."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

log = logging.getLogger("resdx")

OPTIONS: dict[str, Any] = {
    "fallback_random": True,  # dropout draws what it draws without the compiler, so that the two can be compared
    "compile_threads": 1,  # no pool of processes that a signal to the run would reach
}

Forward = Callable[[Tensor], Tensor]


class NotCompiledError(RuntimeError):
    """The compiler fails on this network, or is not here; says why in one line."""


def compiled(network: nn.Module) -> Forward:
    """Compile the forward pass when it is first called with a shape; the network itself stays as it is.

    Each shape by itself: with sizes left open the compiler fails on 3D networks. Hooks of parts that are added later
    are not called. What it returns raises :class:`NotCompiledError`.
    """
    run: Forward = torch.compile(network.forward, dynamic=False, options=OPTIONS)

    def forward(images: Tensor) -> Tensor:
        try:
            return run(images)
        except TorchDynamoException as error:
            raise NotCompiledError(str(error).strip().partition("\n")[0]) from error

    return forward


def compiled_where_possible(network: nn.Module) -> Forward:
    """Do what :func:`compiled` does; where that fails, warn, and run without the compiler from then on.

    For a run that chose to compile and goes on where there is no compiler, or with a shape that it fails on.
    """
    runs: list[Forward] = [compiled(network)]

    def forward(images: Tensor) -> Tensor:
        try:
            return runs[-1](images)
        except NotCompiledError as error:
            log.warning("torch.compile fails (%s); training goes on without it, equal within rounding.", error)
            runs.append(network.__call__)
            return runs[-1](images)

    return forward
