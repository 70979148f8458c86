"""Make the kernels of one network fit another: 2D to 3D, other input channels, other order of axes."""

import torch
from torch import Tensor


def reverse_axes(kernel: Tensor) -> Tensor:
    """Kernel (out, in, rows, columns) to (out, in, columns, rows), 3D likewise: it then fits images (i, j, k)."""
    return kernel.permute(0, 1, *reversed(range(2, kernel.ndim)))


def inflate(kernel: Tensor) -> Tensor:
    """Repeat a kernel (out, in, i, j) along k and divide by the number of repeats.

    A volume that is constant along k then gives the response of the 2D kernel (Carreira and Zisserman 2017, *Quo Vadis,
    Action Recognition?*), but for the borders, where zeros are read.
    """
    length = kernel.shape[-1]
    return kernel.unsqueeze(-1).expand(*kernel.shape, length) / length


def split_views(kernel: Tensor) -> Tensor:
    """Lay a kernel (out, in, i, j) into the three planes of a volume, a third of the output channels each.

    The first third sees the axial plane (i, j), the second the coronal plane (i, k) and the last the sagittal plane
    (j, k); what is left of a division by three goes to the first (Yang et al. 2021, *Reinventing 2D Convolutions for 3D
    Images*). Zeros stand off the plane, so that an ordinary 3D convolution computes it.
    """
    axial, coronal, sagittal = torch.tensor_split(kernel, 3)
    return torch.cat([embed(axial, normal=2), embed(coronal, normal=1), embed(sagittal, normal=0)])


def embed(kernel: Tensor, normal: int) -> Tensor:
    """Kernel (out, in, a, b) in the middle plane of a cube of zeros (out, in, i, j, k), across the axis `normal`."""
    length = kernel.shape[-1]
    cube = kernel.new_zeros(*kernel.shape[:2], length, length, length)
    cube.select(2 + normal, length // 2).copy_(kernel)
    return cube


def mix_channels(kernel: Tensor, channels: int) -> Tensor:
    """Kernel for images of another number of channels: the sum over the file's channels, divided among ours.

    An RGB kernel gives a grey one as the sum of its three; a grey one is repeated and divided. Whatever the two
    numbers are, an image of equal channels gives the response that it gave before.
    """
    mean = kernel.sum(dim=1, keepdim=True) / channels
    return mean.expand(-1, channels, *kernel.shape[2:])
