"""What the machine and the amount of data allow: batch size, depth."""

import math
from collections.abc import Callable
from typing import NamedTuple

ACTIVATION_BYTES = 6_000
"""Memory of one training sample per input voxel: an 18-layer network of width 64 keeps about 17 float32 maps of 64
channels at full size (stem that does not downsample), and the optimizer's share. An upper bound for larger stems."""

MEMORY_SHARE = 0.5
"""Part of the limit that training may take; the rest is for the loader, libraries and other programs."""

LARGEST_BATCH = {2: 64, 3: 32}
SMALLEST_BATCH = 4
STEPS_PER_EPOCH = 8
"""An epoch should make at least this many steps, small data sets excepted."""

DEPTHS = ((200, 10), (5_000, 18), (50_000, 34))
"""Residual network depth up to that many training cases; 50 beyond."""

SMALL_SIDE = 16
"""Inputs with a side below this leave a deeper network nothing to see."""


class NetworkMemory(NamedTuple):
    """What training a network takes.

    Attributes
    ----------
    network : str
        In words.
    of_case : int
        Bytes for each case of a batch.
    fixed : int
        Bytes for weights, gradients and the optimizer.
    """

    network: str
    of_case: int
    fixed: int = 0


MemoryOf = Callable[[int, tuple[int, ...], tuple[float, ...] | None, int], NetworkMemory]
"""Counts the memory of the network that is to be trained, for depth, size and spacing of a plan and input channels."""


def assumed_memory(size: tuple[int, ...]) -> NetworkMemory:
    """Memory of the usual network, where none is named."""
    return NetworkMemory(
        "18 layers of width 64 assumed, as no network is named here", ACTIVATION_BYTES * math.prod(size)
    )


def choose_batch_size(cases: int, size: tuple[int, ...], limit_bytes: int, memory: NetworkMemory) -> int:
    """Largest power of two that memory, the number of cases and the usual maximum allow; at least 1."""
    by_memory = (limit_bytes * MEMORY_SHARE - memory.fixed) / memory.of_case
    by_cases = max(SMALLEST_BATCH, cases / STEPS_PER_EPOCH)
    most = max(1.0, min(by_memory, by_cases, LARGEST_BATCH[len(size)]))
    return int(2 ** math.floor(math.log2(most)))


def choose_depth(cases: int, size: tuple[int, ...]) -> tuple[int, str]:
    """Depth of the residual network, and why."""
    if min(size) < SMALL_SIDE:
        return 10, f"the shortest side has {min(size)} voxels, too few for more halvings"
    for most, depth in DEPTHS:
        if cases <= most:
            return depth, f"{cases} training cases (rule: up to {most} cases, {depth} layers)"
    return 50, f"{cases} training cases (rule: above {DEPTHS[-1][0]} cases, 50 layers)"
