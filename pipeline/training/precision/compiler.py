"""torch.compile as training uses it: for one shape, drawing what it would draw without, in this process alone."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

OPTIONS: dict[str, Any] = {
    "fallback_random": True,  # dropout draws what it draws without the compiler, so that the two can be compared
    "compile_threads": 1,  # no pool of processes that a signal to the run would reach
}


def compiled(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """Compile the forward pass when it is first called with a shape; the network itself stays as it is.

    Each shape by itself: with sizes left open the compiler fails on 3D networks. Hooks of parts that are added later
    are not called.
    """
    return cast(Callable[[Tensor], Tensor], torch.compile(network.forward, dynamic=False, options=OPTIONS))
