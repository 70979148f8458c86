"""The operators of 2D and of 3D: all that differs between the two networks."""

from typing import Literal, NamedTuple

from torch import nn

NormName = Literal["batch", "group", "instance"]

GROUPS = 32
"""Most groups of a group norm (Wu and He 2018); fewer where the channels do not divide by it."""


class Operators(NamedTuple):
    """Classes that work on the same number of spatial axes."""

    conv: type[nn.Conv2d | nn.Conv3d]
    max_pool: type[nn.MaxPool2d | nn.MaxPool3d]
    batch_norm: type[nn.BatchNorm2d | nn.BatchNorm3d]
    instance_norm: type[nn.InstanceNorm2d | nn.InstanceNorm3d]

    def convolution(self, channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Module:
        """Convolution without bias (a norm follows) that keeps the size but for the stride."""
        return self.conv(channels, out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)

    def normalisation(self, name: NormName, channels: int) -> nn.Module:
        """Norm with learned scale and offset."""
        match name:
            case "batch":
                return self.batch_norm(channels)
            case "instance":
                return self.instance_norm(channels, affine=True)
            case "group":
                groups = max(count for count in range(1, GROUPS + 1) if channels % count == 0)
                return nn.GroupNorm(groups, channels)


OPERATORS = {
    2: Operators(nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.InstanceNorm2d),
    3: Operators(nn.Conv3d, nn.MaxPool3d, nn.BatchNorm3d, nn.InstanceNorm3d),
}
