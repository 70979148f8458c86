"""The x of F(x) + x: identity, zero-padded identity or projection (He et al. 2016, section 3.3, options A, B, C)."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.backbones.downsampling import BlurPool
from pipeline.backbones.operators import Operators
from pipeline.backbones.options import NormName, ShortcutName
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
    operators: Operators,
    option: ShortcutName,
    channels: int,
    out_channels: int,
    stride: Stride,
    *,
    norm: NormName,
    average: bool,
    antialias: bool,
) -> nn.Module:
    """Shortcut of one block.

    Parameters
    ----------
    option : {"A", "B", "C"}
        Where shapes agree A and B are the identity; where they differ A pads with zeros and B projects with a 1x1
        convolution; C projects in every block.
    norm : {"batch", "group", "instance", "none"}
        Behind the projection.
    average : bool
        Project the mean over the voxels that the stride joins (ResNet-D, He et al. 2019) instead of one of them.
    antialias : bool
        Project the blurred map, see :class:`pipeline.backbones.downsampling.BlurPool`.
    """
    halves = max(stride) > 1
    same = not halves and channels == out_channels
    if same and option != "C":
        return nn.Identity()
    if option == "A":
        return ZeroPaddedIdentity(stride, out_channels - channels)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if halves and average:
        parts["pool"] = operators.average_pool(stride, stride, ceil_mode=True, count_include_pad=False)
    elif halves and antialias:
        parts["pool"] = BlurPool(stride)
    own_stride: Stride | int = 1 if "pool" in parts else stride
    parts["conv"] = operators.convolution(channels, out_channels, 1, own_stride, bias=norm == "none")
    if norm != "none":
        parts["norm"] = operators.normalisation(norm, out_channels)
    return nn.Sequential(parts)
