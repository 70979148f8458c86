"""Anti-aliased downsampling: blur, then keep every second voxel.

Zhang 2019, *Making Convolutional Networks Shift-Invariant Again*.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.backbones.strides import Stride

BINOMIAL = (0.25, 0.5, 0.25)
"""Blur along one axis that is halved; an axis that is not halved is not blurred."""


class BlurPool(nn.Module):
    """Blur each channel with a fixed kernel and keep every second voxel of the axes of stride 2.

    Borders are mirrored where the axis is long enough and repeated where it has one voxel, so that a constant image
    stays constant.
    """

    kernel: Tensor

    def __init__(self, stride: Stride) -> None:
        super().__init__()
        self.stride = stride
        weights = torch.ones((1,) * len(stride))
        for axis, step in enumerate(stride):
            if step > 1:
                shape = [1] * len(stride)
                shape[axis] = len(BINOMIAL)
                weights = weights * torch.tensor(BINOMIAL).reshape(shape)
        self.register_buffer("kernel", weights[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, *space) to (n, c, *halved space), an odd length rounded up."""
        pads = [1 if step > 1 else 0 for step in reversed(self.stride) for _ in range(2)]
        long_enough = all(length > 1 for length, step in zip(x.shape[2:], self.stride, strict=True) if step > 1)
        padded = F.pad(x, pads, mode="reflect" if long_enough else "replicate")
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, *self.kernel.shape[1:])
        convolve = F.conv2d if len(self.stride) == 2 else F.conv3d
        return convolve(padded, kernel, stride=self.stride, groups=channels)

    def extra_repr(self) -> str:
        """Show the stride."""
        return f"stride={self.stride}"
