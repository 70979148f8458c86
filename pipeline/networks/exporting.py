"""A classifier as exporters can trace it: one plain graph from images to rows."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.backbones.downsampling import BlurPool
from pipeline.networks.classifier import Classifier
from pipeline.networks.heads import GradesHead
from pipeline.networks.rerouting import Rerouted


class Traceable(nn.Module):
    """Images (n, c, *space) to rows (n, outputs + features), as :meth:`Classifier.forward_rows` gives them.

    Parameters
    ----------
    classifier : Classifier
        Fresh from its package: on the CPU, in evaluation mode, its layers not rerouted for training. Layers that ONNX
        has no word for are rerouted here, in place.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        for module in classifier.modules():
            if isinstance(module, GradesHead):
                WithoutCumulative(module)
            elif isinstance(module, BlurPool):
                WithFixedKernel(module)
            elif isinstance(module, nn.AvgPool2d | nn.AvgPool3d):
                WithinMap(module)
        self.classifier = classifier

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return self.classifier.forward_rows(images)


class WithoutCumulative(Rerouted):
    """Head of grades without ``logcumsumexp``, which ONNX lacks: one sum for each threshold."""

    def __call__(self, features: Tensor) -> Tensor:
        """See :meth:`GradesHead.forward`."""
        head = self.module
        assert isinstance(head, GradesHead)
        scores: Tensor = head.scores(features)
        thresholds = range(1, head.scores.out_features)
        columns = [scores[:, cut:].logsumexp(dim=1) - scores[:, :cut].logsumexp(dim=1) for cut in thresholds]
        return torch.stack(columns, dim=1)


class WithFixedKernel(Rerouted):
    """Blur whose kernel is a constant of the graph: ONNX wants to know the shape of a kernel beforehand."""

    def __call__(self, x: Tensor) -> Tensor:
        """See :meth:`BlurPool.forward`."""
        blur = self.module
        assert isinstance(blur, BlurPool)
        channels, space = int(x.shape[1]), [int(length) for length in x.shape[2:]]
        pads = [1 if step > 1 else 0 for step in reversed(blur.stride) for _ in range(2)]
        long_enough = all(length > 1 for length, step in zip(space, blur.stride, strict=True) if step > 1)
        padded = F.pad(x, pads, mode="reflect" if long_enough else "replicate")
        kernel = nn.Parameter(blur.kernel.to(x.dtype).expand(channels, *blur.kernel.shape[1:]).contiguous(), False)
        convolve = F.conv2d if len(blur.stride) == 2 else F.conv3d
        return convolve(padded, kernel, stride=blur.stride, groups=channels)


class WithinMap(Rerouted):
    """Mean pooling whose window is no larger than the map, where PyTorch cuts it off and others refuse it."""

    def __call__(self, x: Tensor) -> Tensor:
        """Pool; the mean over a window that is cut off is that over what is left of it."""
        pool = self.module
        assert isinstance(pool, nn.AvgPool2d | nn.AvgPool3d) and isinstance(pool.kernel_size, tuple)
        window = [min(size, int(length)) for size, length in zip(pool.kernel_size, x.shape[2:], strict=True)]
        mean = F.avg_pool2d if isinstance(pool, nn.AvgPool2d) else F.avg_pool3d
        pooled: Tensor = mean(x, window, pool.stride, pool.padding, pool.ceil_mode, pool.count_include_pad)
        return pooled
