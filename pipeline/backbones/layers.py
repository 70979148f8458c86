"""The layers that blocks and stems are made of, by the settings of the network."""

from dataclasses import dataclass

from torch import nn

from pipeline.backbones.downsampling import BlurPool
from pipeline.backbones.operators import Operators
from pipeline.backbones.residual_settings import BASE_WIDTH, ResidualSettings
from pipeline.backbones.squeeze_excitation import SqueezeExcitation
from pipeline.backbones.strides import Stride


@dataclass(frozen=True)
class LayerFactory:
    """Makes every layer of one network."""

    operators: Operators
    settings: ResidualSettings

    @property
    def unit(self) -> Stride:
        """Stride of 1 along every axis."""
        return (1,) * self.operators.ndim

    def convolution(
        self, channels: int, out_channels: int, kernel: int, stride: Stride | None = None, groups: int = 1
    ) -> nn.Module:
        """Convolution with a bias only where no norm follows."""
        bias = self.settings.norm == "none"
        return self.operators.convolution(channels, out_channels, kernel, stride or 1, groups=groups, bias=bias)

    def blurred(self, stride: Stride) -> tuple[Stride, nn.Module]:
        """Stride of a convolution, and what stands behind its relu: anti-aliased, a blur takes over the stride."""
        if self.settings.antialias and max(stride) > 1:
            return self.unit, BlurPool(stride)
        return stride, nn.Identity()

    def norm(self, channels: int) -> nn.Module:
        """Norm, or the identity."""
        return self.operators.normalisation(self.settings.norm, channels)

    def dropout(self) -> nn.Module:
        """Dropout within a branch, or the identity."""
        return nn.Dropout(self.settings.dropout) if self.settings.dropout else nn.Identity()

    def excitation(self, channels: int) -> nn.Module:
        """Weights of channels, or the identity."""
        reduction = self.settings.squeeze_excitation
        return SqueezeExcitation(channels, reduction) if reduction else nn.Identity()

    def inner_width(self, planes: int) -> int:
        """Channels between the 1x1 convolutions of a bottleneck: ``planes``, or those of a ResNeXt or wide network."""
        return max(1, planes * self.settings.group_width // BASE_WIDTH) * self.settings.groups
