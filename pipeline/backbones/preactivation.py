"""Pre-activation blocks: y = F(x) + x with nothing behind the sum.

The signal of any block reaches any later one unchanged (He et al. 2016, *Identity Mappings in Deep Residual Networks*).
"""

from abc import abstractmethod

from torch import Tensor, nn

from pipeline.backbones.blocks import Block
from pipeline.backbones.layers import LayerFactory
from pipeline.backbones.strides import Stride


class Activation(nn.Module):
    """Norm and relu, not in place: what comes in also goes through the shortcut."""

    def __init__(self, make: LayerFactory, channels: int) -> None:
        super().__init__()
        self.norm = make.norm(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Shape (n, channels, *space) in and out."""
        activated: Tensor = self.relu(self.norm(x))
        return activated


class PreActivationBlock(Block):
    """F(x) + shortcut, F starting with norm and relu.

    A projection takes the activated input, as in the paper's own code; an identity, padded or not, takes x itself.
    """

    projection_has_norm = False

    def __init__(self, make: LayerFactory, channels: int, planes: int, stride: Stride, drop: float) -> None:
        super().__init__(make, channels, planes, stride, drop)
        self.activation = Activation(make, channels)
        self.projects = isinstance(self.shortcut, nn.Sequential)

    @abstractmethod
    def branch(self, activated: Tensor) -> Tensor:
        """F behind its first norm and relu, up to and with its last convolution."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, *space) to (n, planes * expansion, *space by the stride)."""
        activated = self.activation(x)
        return self.join(self.branch(activated), activated if self.projects else x)


class PreActivationBasicBlock(PreActivationBlock):
    """Two 3x3 convolutions, the first of which carries the stride."""

    def __init__(self, make: LayerFactory, channels: int, planes: int, stride: Stride, drop: float) -> None:
        super().__init__(make, channels, planes, stride, drop)
        carried, self.blur = make.blurred(stride)
        self.conv1 = make.convolution(channels, planes, 3, carried)
        self.norm2 = make.norm(planes)
        self.conv2 = make.convolution(planes, planes, 3)

    def branch(self, activated: Tensor) -> Tensor:
        """See :meth:`PreActivationBlock.branch`."""
        out: Tensor = self.dropout(self.blur(self.relu(self.norm2(self.conv1(activated)))))
        return self.conv2(out)  # type: ignore[no-any-return] # modules are called as Any

    @property
    def last_layer(self) -> nn.Module:
        """See :attr:`Block.last_layer`."""
        return self.conv2


class PreActivationBottleneckBlock(PreActivationBlock):
    """1x1 down, 3x3 (which carries the stride), 1x1 up to four times the planes."""

    expansion = 4

    def __init__(self, make: LayerFactory, channels: int, planes: int, stride: Stride, drop: float) -> None:
        super().__init__(make, channels, planes, stride, drop)
        inner = make.inner_width(planes)
        carried, self.blur = make.blurred(stride)
        self.conv1 = make.convolution(channels, inner, 1)
        self.norm2 = make.norm(inner)
        self.conv2 = make.convolution(inner, inner, 3, carried, make.settings.groups)
        self.norm3 = make.norm(inner)
        self.conv3 = make.convolution(inner, planes * self.expansion, 1)

    def branch(self, activated: Tensor) -> Tensor:
        """See :meth:`PreActivationBlock.branch`."""
        out: Tensor = self.relu(self.norm2(self.conv1(activated)))
        out = self.dropout(self.blur(self.relu(self.norm3(self.conv2(out)))))
        return self.conv3(out)  # type: ignore[no-any-return] # modules are called as Any

    @property
    def last_layer(self) -> nn.Module:
        """See :attr:`Block.last_layer`."""
        return self.conv3
