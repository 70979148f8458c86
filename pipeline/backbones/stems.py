"""The first layers, from image channels to the width of the network."""

from typing import Literal

from torch import Tensor, nn

from pipeline.backbones.operators import NormName, Operators

StemName = Literal["small", "medium", "large"]

KERNEL_AND_STRIDE = {"small": (3, 1), "medium": (3, 2), "large": (7, 2)}


class Stem(nn.Module):
    """Convolution, norm, relu and, if large, pooling.

    ``small`` (3x3, stride 1) keeps every voxel. ``medium`` (3x3, stride 2) halves each axis. ``large`` is that of He et
    al. 2016 (7x7, stride 2, then 3x3 max pooling, stride 2) and makes a quarter of each axis.
    """

    def __init__(self, name: StemName, operators: Operators, norm: NormName, channels: int, width: int) -> None:
        super().__init__()
        kernel, stride = KERNEL_AND_STRIDE[name]
        self.conv = operators.convolution(channels, width, kernel, stride)
        self.norm = operators.normalisation(norm, width)
        self.relu = nn.ReLU(inplace=True)
        self.pool: nn.Module = operators.max_pool(3, stride=2, padding=1) if name == "large" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, *space) to (n, width, *space or a quarter of it)."""
        out: Tensor = self.pool(self.relu(self.norm(self.conv(x))))
        return out
