"""Change how one layer of a network computes, and nothing else of it."""

import math
from typing import Any

import torch
from torch import Tensor, nn


class Rerouted:
    """Stands in for the ``forward`` of one module, on the instance alone.

    Names and weights in the state stay as they are, hooks still run, and copies of the network (a pickled one too) are
    rerouted as it is. Detours may be put one over the other; each calls the one before it.

    Parameters
    ----------
    module : nn.Module
        Rerouted from now on.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.before: Rerouted | None = module.__dict__.get("forward")
        module.forward = self

    def __call__(self, *args: Any) -> Any:
        """Compute the layer in another way; here as before."""
        if self.before is not None:
            return self.before(*args)
        return type(self.module).forward(self.module, *args)

    @classmethod
    def covers(cls, module: nn.Module) -> bool:
        """Whether a module is rerouted in this way already."""
        found = module.__dict__.get("forward")
        while found is not None:
            if type(found) is cls:
                return True
            found = found.before
        return False


class Subsampled(Rerouted):
    """A strided 1x1 convolution as an unstrided one of the pixels that the stride keeps: the same sums.

    With fewer than 16 channels laid out last, the strided kernel of oneDNN (in torch 2.13, several threads, an odd
    number of images) writes beyond its memory in the backward pass, and the process dies.
    """

    def __call__(self, x: Tensor) -> Any:
        """Convolve; plainly where the device has other kernels."""
        convolution = self.module
        assert isinstance(convolution, nn.Conv2d)
        if x.device.type != "cpu":
            return super().__call__(x)
        down, across = convolution.stride
        kept = x[:, :, ::down, ::across]
        return nn.functional.conv2d(kept, convolution.weight, convolution.bias, groups=convolution.groups)


class Unfolded(Rerouted):
    """A 3D convolution of a small map as one product of matrices (im2col): the same sums.

    On maps of few voxels the weight gradient of oneDNN (in torch 2.13, bfloat16) reads memory that nobody wrote and
    comes out infinite or worse, finite and wrong. A product of matrices is right.
    """

    def __call__(self, x: Tensor) -> Any:
        """Multiply where bfloat16 would meet the faulty kernel; convolve as before everywhere else."""
        convolution = self.module
        assert isinstance(convolution, nn.Conv3d)
        half = torch.is_autocast_enabled("cpu") or x.dtype == torch.bfloat16
        if x.device.type != "cpu" or not half or math.prod(x.shape[2:]) > SMALL_MAP:
            return super().__call__(x)
        assert not isinstance(convolution.padding, str)
        windows = nn.functional.pad(x, [both for pad in reversed(convolution.padding) for both in (pad, pad)])
        for axis, (size, stride) in enumerate(zip(convolution.kernel_size, convolution.stride, strict=True), start=2):
            windows = windows.unfold(axis, size, stride)
        cases, _, *space = windows.shape[:5]
        rows = windows.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(4).flatten(0, 3)
        out = nn.functional.linear(rows, convolution.weight.flatten(1), convolution.bias)
        return out.reshape(cases, *space, -1).permute(0, 4, 1, 2, 3)


SMALL_MAP = 8
"""Voxels of a map on which the kernel that :class:`Unfolded` avoids was seen to be wrong."""

FEW_CHANNELS = 16
"""Of a vector register: fewer channels than this meet the faulty kernel of :class:`Subsampled`."""


def reroute_faulty_kernels(network: nn.Module) -> None:
    """Keep layers whose channels are laid out last away from kernels that are known to write where they may not."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and _is_faulty(module) and not Subsampled.covers(module):
            Subsampled(module)


def unfold_small_maps(network: nn.Module) -> None:
    """Keep 3D convolutions away from the kernel that gives wrong gradients in bfloat16, in place."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and _can_unfold(module) and not Unfolded.covers(module):
            Unfolded(module)


def _can_unfold(convolution: nn.Conv3d) -> bool:
    plain = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    wide = max(convolution.kernel_size) > 1
    return plain and wide and convolution.groups == 1 and set(convolution.dilation) == {1}


def _is_faulty(convolution: nn.Conv2d) -> bool:
    pointwise = set(convolution.kernel_size) == {1} and convolution.padding in ((0, 0), "valid", "same")
    few = convolution.in_channels // convolution.groups < FEW_CHANNELS
    return pointwise and few and max(convolution.stride) > 1
