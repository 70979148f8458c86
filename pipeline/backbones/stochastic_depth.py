"""Stochastic depth: a network that is shallower in training than in evaluation."""

import torch
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Drop a whole branch of a case with a probability during training (Huang et al. 2016).

    What is kept is scaled by 1 / (1 - p), so that the expectation is that of evaluation, where nothing is dropped.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        assert 0 <= probability < 1, probability
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Drop per case; shape (n, c, *space) in and out."""
        if not self.training or self.probability == 0:
            return branch
        kept = 1.0 - self.probability
        mask = torch.empty((len(branch),) + (1,) * (branch.ndim - 1), dtype=branch.dtype, device=branch.device)
        return branch * mask.bernoulli_(kept).div_(kept)

    def extra_repr(self) -> str:
        """Show the probability."""
        return f"probability={self.probability:g}"
