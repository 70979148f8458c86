"""The x of F(x) + x: identity, zero-padded identity or projection (He et al. 2016, section 3.3, options A, B, C)."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.backbones.downsampling import BlurPool
from pipeline.backbones.layers import LayerFactory
from pipeline.backbones.strides import Stride


class ZeroPaddedIdentity(nn.Module):
    """Option A: every second voxel, and zeros for the channels that are new. No parameters."""

    def __init__(self, stride: Stride, new_channels: int) -> None:
        super().__init__()
        assert new_channels >= 0, new_channels
        self.stride = stride
        self.new_channels = new_channels

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, *space) to (n, c + new_channels, *halved space)."""
        kept = x[(slice(None), slice(None), *(slice(None, None, step) for step in self.stride))]
        return F.pad(kept, (0, 0) * len(self.stride) + (0, self.new_channels))

    def extra_repr(self) -> str:
        """Show what it does."""
        return f"stride={self.stride}, new_channels={self.new_channels}"


def make_shortcut(
    make: LayerFactory, channels: int, out_channels: int, stride: Stride, *, norm: bool
) -> nn.Module | None:
    """Shortcut of one block; None for the plain twin.

    Where shapes agree options A and B are the identity; where they differ A pads with zeros and B projects with a 1x1
    convolution; C projects in every block. What is projected is one of the voxels that a stride joins, their mean
    (ResNet-D, He et al. 2019) or a blurred map (:class:`pipeline.backbones.downsampling.BlurPool`).

    Parameters
    ----------
    norm : bool
        Whether a norm follows a projection.
    """
    settings = make.settings
    if not settings.residual:
        return None
    halves = max(stride) > 1
    if settings.shortcut != "C" and not halves and channels == out_channels:
        return nn.Identity()
    if settings.shortcut == "A":
        return ZeroPaddedIdentity(stride, out_channels - channels)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if halves and settings.average_shortcut:
        layers["pool"] = make.operators.average_pool(stride, stride, ceil_mode=True, count_include_pad=False)
    elif halves and settings.antialias:
        layers["pool"] = BlurPool(stride)
    layers["conv"] = make.convolution(channels, out_channels, 1, make.unit if "pool" in layers else stride)
    if norm:
        layers["norm"] = make.norm(out_channels)
    return nn.Sequential(layers)
