"""A 2D encoder over slices and gated attention over what it finds."""

import torch
from torch import Tensor, nn

from pipeline.backbones.backbone import Backbone
from pipeline.backbones.residual import ResidualNetwork
from pipeline.backbones.residual_settings import ResidualSettings

SLICE_AXES = 2
VOLUME_AXES = 3

ATTENTION = "attention"
"""Name of the attention among the stages."""


class GatedAttention(nn.Module):
    """Weights of the slices of a case, which sum to 1 (Ilse et al. 2018, equation 9).

    ``softmax over slices of w . (tanh(V h) * sigmoid(U h))``; w starts at zero, so that all slices weigh the same.
    """

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.tanh = nn.Linear(features, hidden)
        self.gate = nn.Linear(features, hidden)
        self.weigh = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.weigh.weight)

    def forward(self, slices: Tensor) -> Tensor:
        """Features (n, slices, features) to weights (n, slices)."""
        score: Tensor = self.weigh(self.tanh(slices).tanh() * self.gate(slices).sigmoid())
        return score.squeeze(-1).softmax(dim=-1)


class SliceNetwork(Backbone):
    """Features of a volume: the weighted mean of the features of its slices.

    Parameters
    ----------
    settings : ResidualSettings
        Of the encoder.
    channels : int
        Of the volumes, and so of the slices.
    axis : int
        Spatial axis along which the slices lie.
    hidden : int
        Units of the attention.

    Attributes
    ----------
    encoder : ResidualNetwork
        The 2D network; weights of pictures fit it.
    attention : GatedAttention
    """

    def __init__(self, settings: ResidualSettings, channels: int, axis: int, hidden: int) -> None:
        encoder = ResidualNetwork(settings, SLICE_AXES, channels)
        super().__init__(VOLUME_AXES, encoder.features)
        self.axis = axis
        self.encoder = encoder
        self.attention = GatedAttention(encoder.features, hidden)

    def named_stages(self) -> dict[str, nn.Module]:
        """See :meth:`Backbone.named_stages`; the attention comes last."""
        return self.encoder.named_stages() | {ATTENTION: self.attention}

    def forward_features(self, x: Tensor) -> Tensor:
        """See :meth:`Backbone.forward_features`; the axis of the slices keeps its length."""
        return self._volumes(self.encoder.forward_features(self._slices(x)), x)

    def forward_stages(self, x: Tensor) -> dict[str, Tensor]:
        """See :meth:`Backbone.forward_stages`; the attention makes no map."""
        maps = self.encoder.forward_stages(self._slices(x))
        return {name: self._volumes(found, x) for name, found in maps.items()}

    def weights(self, maps: Tensor) -> Tensor:
        """How much each slice counts, shape (n, slices), of maps of shape (n, features, *space)."""
        weights: Tensor = self.attention(self._features(maps))
        return weights

    def pool(self, maps: Tensor) -> Tensor:
        """Mean within each slice, then the weighted mean over slices, shape (n, features)."""
        features = self._features(maps)
        return torch.einsum("ns,nsf->nf", self.attention(features), features)

    def _features(self, maps: Tensor) -> Tensor:
        """Features of each slice, shape (n, slices, features)."""
        return maps.movedim(self.axis + 2, 1).flatten(3).mean(dim=3)

    def _slices(self, x: Tensor) -> Tensor:
        """(n, c, *space) to (n * slices, c, *space without the axis)."""
        return x.movedim(self.axis + 2, 1).flatten(0, 1)

    def _volumes(self, maps: Tensor, x: Tensor) -> Tensor:
        """Put the maps of slices back where they lay in x."""
        return maps.reshape(x.shape[0], x.shape[self.axis + 2], *maps.shape[1:]).movedim(1, self.axis + 2)
