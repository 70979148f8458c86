"""Single layers that stay in float32 while the network around them runs in half precision."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.networks.rerouting import Rerouted


class InFloat32(Rerouted):
    """A layer that autocast does not reach: it takes its inputs in float32 and computes in it."""

    def __call__(self, *args: Any) -> Any:
        """Compute as if there was no autocast."""
        device = next((value.device.type for value in args if isinstance(value, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return super().__call__(*(_widened(value) for value in args))


def keep_in_float32(network: nn.Module, names: Iterable[str]) -> None:
    """Keep layers in float32, in place; names and weights in the state stay as they are.

    Parameters
    ----------
    names : iterable of str
        As ``network.named_modules()`` has them.
    """
    for name in names:
        layer = network.get_submodule(name)
        if not InFloat32.covers(layer):
            InFloat32(layer)


def suspects(network: nn.Module, parameters: Collection[str]) -> tuple[str, ...]:
    """Layers that own these parameters, and all of the same kind and shape, in the order of the network.

    A kernel that reads memory which nobody has written may be right by chance in one of two equal layers.
    """
    layers = {name: layer for name, layer in network.named_modules() if _shapes(layer)}
    owners = {name.rpartition(".")[0] for name in parameters}
    kinds = {_kind(layers[name]) for name in owners}
    return tuple(name for name, layer in layers.items() if _kind(layer) in kinds)


def count_layers(network: nn.Module) -> int:
    """Count layers with weights of their own."""
    return sum(bool(_shapes(layer)) for layer in network.modules())


def _kind(layer: nn.Module) -> tuple[Any, ...]:
    described = (getattr(layer, name, None) for name in ("stride", "padding", "dilation", "groups"))
    return (type(layer), _shapes(layer), *described)


def _shapes(layer: nn.Module) -> Sequence[tuple[int, ...]]:
    return tuple(tuple(parameter.shape) for parameter in layer.parameters(recurse=False))


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value
