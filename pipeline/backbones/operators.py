"""The operators of 2D and of 3D: all that differs between the two networks."""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from pipeline.backbones.options import NormName
from pipeline.backbones.strides import Stride

GROUPS = 32
"""Most groups of a group norm (Wu and He 2018); fewer where the channels do not divide by it."""

LEAST_CHANNELS = 2
"""Of one group where there are as many: a group of one channel is an instance norm, which leaves nothing but its offset
of a map of one voxel."""


NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
"""Classes of norms: batch, instance, group and layer norm."""


class Operators(NamedTuple):
    """Classes that work on the same number of spatial axes."""

    ndim: int
    conv: Callable[..., nn.Module]
    max_pool: Callable[..., nn.Module]
    average_pool: Callable[..., nn.Module]
    batch_norm: Callable[..., nn.Module]
    instance_norm: Callable[..., nn.Module]

    def convolution(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        stride: int | Stride = 1,
        *,
        groups: int = 1,
        bias: bool = False,
    ) -> nn.Module:
        """Convolution that keeps the size but for the stride."""
        return self.conv(channels, out_channels, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=bias)

    def normalisation(self, name: NormName, channels: int) -> nn.Module:
        """Norm with learned scale and offset; the identity for ``none``."""
        match name:
            case "batch":
                return self.batch_norm(channels)
            case "instance":
                return self.instance_norm(channels, affine=True)
            case "group":
                return nn.GroupNorm(norm_groups(channels), channels)
            case "none":
                return nn.Identity()


def norm_groups(channels: int) -> int:
    """Count the groups of a group norm; see GROUPS and LEAST_CHANNELS."""
    most = max(1, min(GROUPS, channels // LEAST_CHANNELS))
    return max(count for count in range(1, most + 1) if channels % count == 0)


OPERATORS = {
    2: Operators(2, nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d, nn.BatchNorm2d, nn.InstanceNorm2d),
    3: Operators(3, nn.Conv3d, nn.MaxPool3d, nn.AvgPool3d, nn.BatchNorm3d, nn.InstanceNorm3d),
}
