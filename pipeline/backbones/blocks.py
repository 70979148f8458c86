"""Residual blocks: y = relu(F(x) + x), He et al. 2016, *Deep Residual Learning for Image Recognition*."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pipeline.backbones.layers import LayerFactory
from pipeline.backbones.shortcuts import make_shortcut
from pipeline.backbones.stochastic_depth import StochasticDepth
from pipeline.backbones.strides import Stride


class ResidualSum(nn.Module):
    """F(x) + x: a module of its own, so that both summands can be watched where they meet."""

    def forward(self, branch: Tensor, shortcut: Tensor) -> Tensor:
        """Sum of two maps of one shape."""
        return branch + shortcut


class Block(nn.Module, ABC):
    """A branch of convolutions and, unless plain, a shortcut past it.

    Parameters
    ----------
    make : LayerFactory
    channels : int
        Channels that come in.
    planes : int
        Channels of the branch; ``planes * expansion`` go out.
    stride : tuple of int
        Of each axis.
    drop : float
        Probability of stochastic depth.
    """

    expansion = 1
    projection_has_norm = True

    def __init__(self, make: LayerFactory, channels: int, planes: int, stride: Stride, drop: float) -> None:
        super().__init__()
        out_channels = planes * self.expansion
        self.relu = nn.ReLU(inplace=True)
        self.dropout = make.dropout()
        self.excite = make.excitation(out_channels)
        self.shortcut = make_shortcut(make, channels, out_channels, stride, norm=self.projection_has_norm)
        self.drop = StochasticDepth(drop)
        self.sum = ResidualSum()

    @property
    @abstractmethod
    def last_layer(self) -> nn.Module:
        """The layer whose weights, set to zero, make the block start as its shortcut (Goyal et al. 2017)."""

    def join(self, branch: Tensor, x: Tensor) -> Tensor:
        """F(x) + shortcut(x), with channel weights and stochastic depth on F(x); the plain twin has F(x) alone."""
        branch = self.excite(branch)
        if self.shortcut is None:
            return branch
        joined: Tensor = self.sum(self.drop(branch), self.shortcut(x))
        return joined

    @torch.no_grad()
    def start_as_shortcut(self) -> None:
        """Set the last layer of the branch to zero."""
        for parameter in self.last_layer.parameters():
            parameter.zero_()


class PostActivationBlock(Block):
    """relu(F(x) + shortcut(x)), F ending in a norm (He et al. 2016)."""

    @abstractmethod
    def branch(self, x: Tensor) -> Tensor:
        """F(x), up to and with its last norm."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, *space) to (n, planes * expansion, *space by the stride)."""
        activated: Tensor = self.relu(self.join(self.branch(x), x))
        return activated


class BasicBlock(PostActivationBlock):
    """Two 3x3 convolutions, the first of which carries the stride."""

    def __init__(self, make: LayerFactory, channels: int, planes: int, stride: Stride, drop: float) -> None:
        super().__init__(make, channels, planes, stride, drop)
        carried, self.blur = make.blurred(stride)
        self.conv1 = make.convolution(channels, planes, 3, carried)
        self.norm1 = make.norm(planes)
        self.conv2 = make.convolution(planes, planes, 3)
        self.norm2 = make.norm(planes)

    def branch(self, x: Tensor) -> Tensor:
        """See :meth:`PostActivationBlock.branch`."""
        out: Tensor = self.dropout(self.blur(self.relu(self.norm1(self.conv1(x)))))
        return self.norm2(self.conv2(out))  # type: ignore[no-any-return] # modules are called as Any

    @property
    def last_layer(self) -> nn.Module:
        """See :attr:`Block.last_layer`."""
        return self.conv2 if isinstance(self.norm2, nn.Identity) else self.norm2


class BottleneckBlock(PostActivationBlock):
    """1x1 down, 3x3 (which carries the stride), 1x1 up to four times the planes."""

    expansion = 4

    def __init__(self, make: LayerFactory, channels: int, planes: int, stride: Stride, drop: float) -> None:
        super().__init__(make, channels, planes, stride, drop)
        inner, outer = make.inner_width(planes), planes * self.expansion
        carried, self.blur = make.blurred(stride)
        self.conv1 = make.convolution(channels, inner, 1)
        self.norm1 = make.norm(inner)
        self.conv2 = make.convolution(inner, inner, 3, carried, make.settings.groups)
        self.norm2 = make.norm(inner)
        self.conv3 = make.convolution(inner, outer, 1)
        self.norm3 = make.norm(outer)

    def branch(self, x: Tensor) -> Tensor:
        """See :meth:`PostActivationBlock.branch`."""
        out: Tensor = self.relu(self.norm1(self.conv1(x)))
        out = self.dropout(self.blur(self.relu(self.norm2(self.conv2(out)))))
        return self.norm3(self.conv3(out))  # type: ignore[no-any-return] # modules are called as Any

    @property
    def last_layer(self) -> nn.Module:
        """See :attr:`Block.last_layer`."""
        return self.conv3 if isinstance(self.norm3, nn.Identity) else self.norm3
