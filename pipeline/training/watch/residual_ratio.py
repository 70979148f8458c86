"""How much a residual branch adds to its shortcut: |F(x)| / |x| where they meet."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pipeline.training.watch.places import Place

Pair = tuple[Tensor, Tensor]


class ResidualRatios:
    """Listens at the sums of residual blocks while armed; otherwise it costs nothing.

    Disarm it behind the forward pass: activation checkpointing runs blocks a second time in the backward pass, which
    would count them twice. So a batch that goes through the network in parts is heard in its first part alone.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = [place for place in places if place.residual_sum is not None]
        self._squares: dict[str, Pair] = {}
        self._handles: list[RemovableHandle] = []

    def arm(self) -> None:
        """Listen to the forward passes that follow."""
        self.disarm()
        for place in self._places:
            assert place.residual_sum is not None
            self._handles.append(place.residual_sum.register_forward_hook(self._listener(place.name)))

    def disarm(self) -> None:
        """Listen no more."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def forget(self) -> None:
        """Begin another measurement."""
        self._squares.clear()

    def values(self) -> dict[str, Tensor]:
        """Ratio of the root mean squares over all passes since :meth:`forget`, by place; absent without a shortcut."""
        return {name: (branch / shortcut).sqrt() for name, (branch, shortcut) in self._squares.items()}

    def _listener(self, name: str) -> "_Listener":
        return _Listener(name, self._squares)


class _Listener:
    """Adds the squares of one block; float32 also where the network runs in half precision."""

    def __init__(self, name: str, squares: dict[str, Pair]) -> None:
        self._name = name
        self._squares = squares

    @torch.no_grad()
    def __call__(self, module: nn.Module, summands: Pair, total: Tensor) -> None:
        branch, shortcut = (torch.linalg.vector_norm(part, dtype=torch.float32).square() for part in summands)
        before = self._squares.get(self._name)
        self._squares[self._name] = (branch, shortcut) if before is None else (before[0] + branch, before[1] + shortcut)
