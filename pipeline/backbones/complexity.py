"""What one pass of a network computes: its multiply-adds, by closed form of the shapes that pass through it."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def count_parameters(network: nn.Module) -> int:
    """Weights and biases; running statistics of norms are not learned and not counted."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-adds of the convolutions and linear layers in one pass of one case, as the papers count them.

    A convolution takes ``kernel voxels * channels in / groups`` for each voxel of each channel that comes out, a linear
    layer ``inputs * outputs`` for each row. Norms, activations, pooling, biases and attention products are left out:
    a hundredth of the whole. Nothing is computed: the pass goes over shapes alone, so any size costs a moment.

    Parameters
    ----------
    shape : sequence of int
        Of one case, (c, *space).
    """
    shapes = copy.deepcopy(network).to("meta").eval()
    counted: list[int] = []

    def convolved(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counted.append(output.numel() * math.prod(layer.kernel_size) * layer.in_channels // layer.groups)

    def multiplied(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        counted.append(output.numel() * layer.in_features)

    for module in shapes.modules():
        if isinstance(module, CONVOLUTIONS):
            module.register_forward_hook(convolved)
        elif isinstance(module, nn.Linear):
            module.register_forward_hook(multiplied)
    with torch.no_grad():
        shapes(torch.empty((1, *shape), device="meta"))
    return sum(counted)
