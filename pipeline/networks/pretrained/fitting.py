"""Make each tensor of a file fit the one of the same name in our network."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pipeline.networks.pretrained.kernels import inflate, mix_channels, reverse_axes, split_views

FIRST_KERNELS = ("stem.conv.weight", "stem.conv.conv1.weight")
"""Kernels that see the channels of the image."""

BIAS_FOLDED = "with the bias of the convolution before it folded in"


class Fitted(NamedTuple):
    """A tensor and what was done to it; an empty string where nothing was."""

    tensor: Tensor
    change: str


@dataclass(frozen=True)
class Fitter:
    """The changes that one file needs.

    Attributes
    ----------
    ndim : int
        Spatial axes of our kernels.
    reverse : bool
        Whether the file's kernels have rows before columns.
    two_d : {"inflate", "acs"}
        How 2D kernels become 3D ones.
    """

    ndim: int
    reverse: bool
    two_d: Literal["inflate", "acs"]

    def fit(self, name: str, tensor: Tensor, wanted: torch.Size) -> Fitted | None:
        """Return the tensor in the wanted shape, or None where no change makes it fit."""
        fitted, changes = tensor, list[str]()
        if tensor.ndim >= 4:
            for step in self._kernels(name, tensor, wanted):
                fitted = step.tensor
                changes.append(step.change)
        return Fitted(fitted, ", ".join(changes)) if fitted.shape == wanted else None

    def _kernels(self, name: str, kernel: Tensor, wanted: torch.Size) -> Iterator[Fitted]:
        """Yield a kernel after each change that it needs."""
        pointwise, square = kernel.shape[-1] == 1, kernel.shape[-1] == kernel.shape[-2]
        if self.reverse and not pointwise:
            kernel = reverse_axes(kernel)
            yield Fitted(kernel, "axes reversed")
        if kernel.ndim == 4 and self.ndim == 3 and square:
            kernel = split_views(kernel) if self.two_d == "acs" and not pointwise else inflate(kernel)
            yield Fitted(kernel, "one voxel along k" if pointwise else WAYS[self.two_d])
        if name in FIRST_KERNELS and len(wanted) == kernel.ndim and kernel.shape[1] != wanted[1]:
            yield Fitted(mix_channels(kernel, wanted[1]), f"{kernel.shape[1]} input channels made {wanted[1]}")


WAYS = {"inflate": "inflated along k", "acs": "laid in axial, coronal and sagittal planes"}


def fold_biases(file: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold biases into batch norms: running means less the bias of the convolution before, by the name of the bias.

    Where the file's convolution has a bias and ours has none, for a batch norm follows: the norm subtracts the mean, so
    that the bias has no effect in training, and in evaluation none once the running mean is smaller by it. The norms of
    pre-activation blocks stand before their convolutions: nothing is folded there.
    """
    found: dict[str, Tensor] = {}
    if any(".activation." in name for name in ours):
        return found
    for name, bias in file.items():
        mean = mean_behind(name)
        if name not in ours and mean in file and mean in ours and file[mean].shape == bias.shape:
            found[name] = file[mean] - bias
    return found


def mean_behind(bias: str) -> str:
    """Name of the running mean of the norm behind a convolution, by the name of its bias."""
    return re.sub(r"\bconv(\d?)\.bias$", r"norm\1.running_mean", bias)
