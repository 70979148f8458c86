"""Layout of weights in memory."""

import torch
from torch import nn

from pipeline.networks.rerouting import reroute_faulty_kernels, unfold_small_maps

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the axes of a tensor: of images and weights of 2D and of 3D convolutions."""


def lay_out(network: nn.Module, memory_format: torch.memory_format) -> None:
    """Lay out weights, in place, as images of that layout want them.

    ``Module.to`` does so only where all weights have the number of axes of the format; a network that looks at volumes
    slice by slice has others. Layers that would meet a faulty kernel are computed in another way; see
    :mod:`pipeline.networks.rerouting`.

    Parameters
    ----------
    memory_format : torch.memory_format
        ``channels_last`` and ``channels_last_3d`` are one here.
    """
    last = memory_format in CHANNELS_LAST.values()
    for parameter in network.parameters():
        wanted = CHANNELS_LAST.get(parameter.ndim, torch.contiguous_format) if last else torch.contiguous_format
        parameter.data = parameter.data.contiguous(memory_format=wanted)
    unfold_small_maps(network)
    if last:
        reroute_faulty_kernels(network)
