"""The first layers, from image channels to the width of the network."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from pipeline.backbones.layers import LayerFactory
from pipeline.backbones.options import STEM_STEPS, StemName
from pipeline.backbones.strides import Stride


class Stem(nn.Module):
    """Convolution, norm, relu and, for large images, pooling.

    ``small`` (3x3) keeps every voxel, for images of 28 or 32 pixels. ``medium`` (3x3, stride 2) halves each axis.
    ``large`` is that of He et al. 2016 (7x7, stride 2, then 3x3 max pooling, stride 2) and makes a quarter of each
    axis; ``deep`` does so with three 3x3 convolutions instead of the 7x7 one (ResNet-D, He et al. 2019). Anti-aliased
    networks blur the pooling; the first convolution keeps its stride, for it would cost four or eight times as much
    without (Zhang 2019).

    Parameters
    ----------
    strides : sequence of tuple
        One for each downsampling of the stem.
    activate : bool
        False leaves the last norm and relu to the first pre-activation block.
    """

    def __init__(
        self,
        name: StemName,
        make: LayerFactory,
        channels: int,
        width: int,
        strides: Sequence[Stride],
        *,
        activate: bool,
    ) -> None:
        super().__init__()
        assert len(strides) == STEM_STEPS[name], (name, strides)
        first = strides[0] if strides else make.unit
        if name == "deep":
            self.conv: nn.Module = _three(make, channels, width, first)
        else:
            self.conv = make.convolution(channels, width, 7 if name == "large" else 3, first)
        self.norm = make.norm(width) if activate else nn.Identity()
        self.relu: nn.Module = nn.ReLU(inplace=True) if activate else nn.Identity()
        self.pool: nn.Module = _max_pool(make, strides[1]) if len(strides) > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, *space) to (n, width, *space, a half or a quarter of it)."""
        out: Tensor = self.pool(self.relu(self.norm(self.conv(x))))
        return out


def _three(make: LayerFactory, channels: int, width: int, stride: Stride) -> nn.Sequential:
    """Three 3x3 convolutions in place of the 7x7 one, the first two of half the width."""
    half = max(1, width // 2)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = make.convolution(channels, half, 3, stride)
    layers["norm1"] = make.norm(half)
    layers["relu1"] = nn.ReLU(inplace=True)
    layers["conv2"] = make.convolution(half, half, 3)
    layers["norm2"] = make.norm(half)
    layers["relu2"] = nn.ReLU(inplace=True)
    layers["conv3"] = make.convolution(half, width, 3)
    return nn.Sequential(layers)


def _max_pool(make: LayerFactory, stride: Stride) -> nn.Module:
    """3x3 max pooling; anti-aliased it keeps every voxel and a blur takes the stride."""
    carried, blur = make.blurred(stride)
    pool = make.operators.max_pool(3, stride=carried, padding=1)
    return pool if isinstance(blur, nn.Identity) else nn.Sequential(pool, blur)
