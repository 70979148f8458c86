"""The layers that a network's depth counts, and the norms of their gradients."""

import torch
from torch import Tensor, nn

ASIDE = ("shortcut", "excite")
"""Modules of a block whose convolutions stand beside the layers: a depth does not count them."""


def counted_layers(network: nn.Module) -> dict[str, Tensor]:
    """Weights of the convolutions by name, from the image on in order of depth, without those of shortcuts.

    Blocks hold their convolutions in the order in which the signal passes them.
    """
    return {
        name: module.weight
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d) and not set(ASIDE) & set(name.split("."))
    }


def gradient_norms(layers: dict[str, Tensor]) -> tuple[float, ...]:
    """Euclidean norm of each layer's gradient after a backward pass; 0 where a layer has none."""
    return tuple(0.0 if weight.grad is None else _norm(weight.grad) for weight in layers.values())


def _norm(gradient: Tensor) -> float:
    """In float64: the squares of a vanishing gradient would vanish in float32."""
    return float(torch.linalg.vector_norm(gradient, dtype=torch.float64))
