"""Activation checkpointing: forget what is inside a block and compute it again for the gradient (Chen et al. 2016)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpointed(block: nn.Module, x: Tensor) -> Tensor:
    """Run a block so that only its input is kept for the backward pass.

    Gradients equal those of a plain run, dropout and stochastic depth included (the state of the generators is kept).
    The second forward pass leaves the running statistics of batch norm alone: without that they would take every batch
    twice, and a checkpointed network would evaluate differently from a plain one.
    """

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(block)

    out: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=contexts)
    return out


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keep running statistics as they are."""
    norms = [norm for norm in block.modules() if isinstance(norm, _BatchNorm) and norm.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    counts = [norm.num_batches_tracked.clone() for norm in norms if norm.num_batches_tracked is not None]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        tracked = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
        for count, kept in zip(tracked, counts, strict=True):
            count.copy_(kept)
