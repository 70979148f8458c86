"""Memory of batches, used again as soon as nobody holds it.

Where the allocator gives the memory of a dropped batch back to the system, that hands it out again page by page and
clears each first. A batch that is dropped leaves its pages here instead, and the next one is written over them.
"""

import math
import sys
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST_KEPT = 4
"""Batches that a training holds at once: the one under way, the next one, and what was just dropped. A pool in which
all are held hands out memory that it does not keep."""

HELD_HERE = 3
"""References to an array that nobody else holds: of the pool, of the loop, and of the call that counts them."""


class Buffers:
    """Hands out tensors of float32 with any content; not for several threads."""

    def __init__(self) -> None:
        self._arrays: list[NDArray[np.float32]] = []

    def take(self, shape: Sequence[int]) -> Tensor:
        """Tensor of this shape over memory that no tensor, view or array elsewhere refers to.

        It is the reference count of the array below that says so: every tensor and every view of it holds the array.
        """
        size = math.prod(shape)
        for array in self._arrays:
            if array.size >= size and sys.getrefcount(array) == HELD_HERE:
                return torch.from_numpy(array[:size].reshape(shape))
        array = np.empty(size, dtype=np.float32)  # in huge pages, where the system has them
        self._arrays = [kept for kept in self._arrays if kept.size >= size][: MOST_KEPT - 1]
        self._arrays.append(array)
        return torch.from_numpy(array.reshape(shape))
