"""Residual blocks: y = relu(F(x) + x), He et al. 2016, *Deep Residual Learning for Image Recognition*."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.backbones.operators import NormName, Operators


class BlockSettings(NamedTuple):
    """What all blocks of a network share.

    Attributes
    ----------
    residual : bool
        False gives the plain twin: the same layers without shortcuts.
    """

    operators: Operators
    norm: NormName
    residual: bool


class StochasticDepth(nn.Module):
    """Drop a whole branch of a case with a probability during training (Huang et al. 2016).

    What is kept is scaled by 1 / (1 - p), so that the expectation is that of evaluation, where nothing is dropped.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        assert 0 <= probability < 1, probability
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Drop per case; shape (n, c, *space) in and out."""
        if not self.training or self.probability == 0:
            return branch
        kept = 1.0 - self.probability
        mask = torch.empty((len(branch),) + (1,) * (branch.ndim - 1), dtype=branch.dtype, device=branch.device)
        return branch * mask.bernoulli_(kept).div_(kept)

    def extra_repr(self) -> str:
        """Show the probability."""
        return f"probability={self.probability:g}"


class Block(nn.Module, ABC):
    """A branch of convolutions and, unless plain, a shortcut past it.

    The shortcut is the identity where shapes agree and a 1x1 convolution with norm where they do not (option B).

    Parameters
    ----------
    channels : int
        Channels that come in.
    planes : int
        Channels of the branch; ``planes * expansion`` go out.
    stride : int
        Along every axis.
    drop : float
        Probability of stochastic depth.
    """

    expansion = 1

    def __init__(self, shared: BlockSettings, channels: int, planes: int, stride: int, drop: float) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module | None = None
        out_channels = planes * self.expansion
        if shared.residual:
            self.shortcut = nn.Identity()
            if stride != 1 or channels != out_channels:
                operators = shared.operators
                projection = operators.convolution(channels, out_channels, 1, stride)
                norm = operators.normalisation(shared.norm, out_channels)
                self.shortcut = nn.Sequential(OrderedDict(conv=projection, norm=norm))
        self.drop = StochasticDepth(drop)

    @abstractmethod
    def branch(self, x: Tensor) -> Tensor:
        """F(x), up to and with its last norm."""

    @property
    @abstractmethod
    def last_norm(self) -> nn.Module:
        """The norm whose scale, set to zero, makes the block start as the identity (Goyal et al. 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        """relu(F(x) + shortcut(x)); the plain twin: relu(F(x))."""
        out = self.branch(x)
        if self.shortcut is not None:
            out = self.drop(out) + self.shortcut(x)
        activated: Tensor = self.relu(out)
        return activated


class BasicBlock(Block):
    """Two 3x3 convolutions."""

    expansion = 1

    def __init__(self, shared: BlockSettings, channels: int, planes: int, stride: int, drop: float) -> None:
        super().__init__(shared, channels, planes, stride, drop)
        operators, norm = shared.operators, shared.norm
        self.conv1 = operators.convolution(channels, planes, 3, stride)
        self.norm1 = operators.normalisation(norm, planes)
        self.conv2 = operators.convolution(planes, planes, 3)
        self.norm2 = operators.normalisation(norm, planes)

    def branch(self, x: Tensor) -> Tensor:
        """See :meth:`Block.branch`."""
        out: Tensor = self.relu(self.norm1(self.conv1(x)))
        return self.norm2(self.conv2(out))  # type: ignore[no-any-return] # modules are called as Any

    @property
    def last_norm(self) -> nn.Module:
        """See :attr:`Block.last_norm`."""
        return self.norm2


class BottleneckBlock(Block):
    """1x1 down, 3x3 (which carries the stride), 1x1 up to four times the planes."""

    expansion = 4

    def __init__(self, shared: BlockSettings, channels: int, planes: int, stride: int, drop: float) -> None:
        super().__init__(shared, channels, planes, stride, drop)
        operators, norm = shared.operators, shared.norm
        self.conv1 = operators.convolution(channels, planes, 1)
        self.norm1 = operators.normalisation(norm, planes)
        self.conv2 = operators.convolution(planes, planes, 3, stride)
        self.norm2 = operators.normalisation(norm, planes)
        self.conv3 = operators.convolution(planes, planes * self.expansion, 1)
        self.norm3 = operators.normalisation(norm, planes * self.expansion)

    def branch(self, x: Tensor) -> Tensor:
        """See :meth:`Block.branch`."""
        out: Tensor = self.relu(self.norm1(self.conv1(x)))
        out = self.relu(self.norm2(self.conv2(out)))
        return self.norm3(self.conv3(out))  # type: ignore[no-any-return] # modules are called as Any

    @property
    def last_norm(self) -> nn.Module:
        """See :attr:`Block.last_norm`."""
        return self.norm3
