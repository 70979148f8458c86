"""Squeeze-and-excitation: weigh the channels by what the whole map shows (Hu et al. 2018)."""

from torch import Tensor, nn


class SqueezeExcitation(nn.Module):
    """Mean over all positions, two layers, a factor between 0 and 1 for each channel.

    Parameters
    ----------
    channels : int
    reduction : int
        The hidden layer has ``channels / reduction`` units, at least one.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.down = nn.Linear(channels, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.up = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, *space) in and out."""
        squeezed = x.mean(dim=tuple(range(2, x.ndim)))
        factors: Tensor = self.up(self.relu(self.down(squeezed))).sigmoid()
        return x * factors.reshape(*factors.shape, *(1,) * (x.ndim - 2))
