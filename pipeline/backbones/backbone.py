"""What every backbone is."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """A network from images to one feature vector a case.

    Attributes
    ----------
    ndim : int
        Spatial axes, 2 or 3.
    features : int
        Length of the feature vector, and channels of the last map.
    """

    def __init__(self, ndim: int, features: int) -> None:
        super().__init__()
        self.ndim = ndim
        self.features = features

    @abstractmethod
    def named_stages(self) -> dict[str, nn.Module]:
        """Parts of the network from the image on: ``stem``, ``stage1``, ``stage2`` and so on.

        Every parameter stands in exactly one of them. Freezing, learning rates by layer and gradients by depth go by
        these names.
        """

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """Last feature map, shape (n, features, *smaller space), of images of shape (n, c, *space)."""

    @abstractmethod
    def forward_stages(self, x: Tensor) -> dict[str, Tensor]:
        """Feature map behind the stem and each stage, by the names of :meth:`named_stages`."""

    def pool(self, maps: Tensor) -> Tensor:
        """Mean over all positions (global average pooling), shape (n, features)."""
        return maps.mean(dim=tuple(range(2, 2 + self.ndim)))

    def forward(self, x: Tensor) -> Tensor:
        """Feature vectors, shape (n, features)."""
        return self.pool(self.forward_features(x))
