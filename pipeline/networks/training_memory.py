"""What one case of a training step takes, counted over shapes alone: nothing is computed, nothing allocated.

Three residual networks of 18 to 110 layers took 4% to 15% less on a processor than is counted here (float32, SGD).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from pipeline.networks.settings import NetworkSettings
from pipeline.preprocessing.resources import NetworkMemory

BYTES_OF_PARAMETER = 16
"""Of float32: the weight, its gradient and the two averages of Adam."""

PASSING = 2
"""Maps of the largest size that a backward pass holds besides what the forward pass has kept."""


def memory_of(
    settings: NetworkSettings, depth: int, size: Sequence[int], spacing: Sequence[float] | None, channels: int
) -> NetworkMemory:
    """Count the memory of a network in training, in float32.

    Parameters
    ----------
    depth, size, spacing
        Of the plan, by which what is ``auto`` in the settings is decided.
    """
    backbone = settings.resolved(depth, size, spacing).backbone
    with torch.device("meta"):
        network = backbone.build(len(size), channels)
        assert isinstance(network, nn.Module)
        of_case = kept_bytes(network, (channels, *size))
    fixed = BYTES_OF_PARAMETER * sum(parameter.numel() for parameter in network.parameters())
    words = [f"{key} {value}" for key in ("depth", "width") if (value := getattr(backbone, key, None)) is not None]
    return NetworkMemory(f"{backbone.kind} {' '.join(words)}".strip(), of_case, fixed)


def kept_bytes(network: nn.Module, shape: Sequence[int]) -> int:
    """Bytes that one case takes in a forward and backward pass of training.

    Autograd is asked what it keeps of two cases, which norms of single voxels need; weights are not counted.

    Parameters
    ----------
    network : nn.Module
        On the meta device, in training mode.
    shape : sequence of int
        Of one case, (c, *space).
    """
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # the storages themselves, or their numbers would be given again

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    images = torch.empty((2, *shape), device="meta")
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images)
    sizes = [storage.nbytes() for storage in kept.values()]
    return (sum(sizes) + PASSING * max(sizes, default=0)) // 2
