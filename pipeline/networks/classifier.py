"""Classifier = backbone + one head a finding."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from pipeline.backbones.backbone import Backbone
from pipeline.domain.finding import Finding
from pipeline.networks.heads import make_head
from pipeline.networks.settings import NetworkSettings, OrdinalKind

HEADS = "heads"
"""Name, beside those of the backbone's stages, of all that lies behind the backbone."""


class Classifier(nn.Module):
    """Images to logits.

    Parameters
    ----------
    backbone : Backbone
    findings : sequence of Finding
        At least one; their logits stand side by side as :func:`pipeline.domain.encoding.output_slices` says.
    dropout : float
        Probability of zeroing a feature in training.
    ordinal : str
        Head of ordinal findings; see :class:`NetworkSettings`.

    Attributes
    ----------
    still : tuple of str
        Names of layers that stay in evaluation mode; see :meth:`keep_still`.
    """

    still: tuple[str, ...] = ()

    def __init__(
        self,
        backbone: Backbone,
        findings: Sequence[Finding],
        dropout: float = 0.0,
        ordinal: OrdinalKind = "proportional",
    ) -> None:
        super().__init__()
        self._ordinal: OrdinalKind = ordinal
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList()
        self.findings: tuple[Finding, ...] = ()
        self.reset_classifier(findings)

    def reset_classifier(self, findings: Sequence[Finding]) -> None:
        """Put fresh heads for other findings on the same backbone."""
        assert findings, "a classifier needs a finding"
        self.findings = tuple(findings)
        device = next(self.backbone.parameters()).device
        features, ordinal = self.backbone.features, self._ordinal
        self.heads = nn.ModuleList(make_head(finding, features, ordinal).to(device) for finding in findings)

    def keep_still(self, names: Sequence[str]) -> None:
        """Keep these layers in evaluation mode whenever the classifier trains, and no others.

        Running statistics of their norms stay as they are, and nothing is dropped at random within them.
        """
        self.still = tuple(names)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all layers but those that are kept still."""
        super().train(mode)
        for name in self.still:
            self.get_submodule(name).eval()
        return self

    def forward_features(self, x: Tensor) -> Tensor:
        """Last feature map of the backbone, shape (n, features, *smaller space)."""
        return self.backbone.forward_features(x)

    def forward_head(self, maps: Tensor) -> Tensor:
        """Logits of feature maps, shape (n, outputs), in float32 even under autocast: they are few and decide."""
        with torch.autocast(maps.device.type, enabled=False):
            return self._logits(self.backbone.pool(maps.float()))

    def forward_rows(self, x: Tensor) -> Tensor:
        """Logits and, behind them, the pooled features they come from: shape (n, outputs + features), in float32."""
        maps = self.forward_features(x)
        with torch.autocast(maps.device.type, enabled=False):
            features = self.backbone.pool(maps.float())
            return torch.cat([self._logits(features), features], dim=1)

    def _logits(self, features: Tensor) -> Tensor:
        features = self.dropout(features)
        return torch.cat([head(features) for head in self.heads], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (n, outputs), of images of shape (n, c, *space)."""
        return self.forward_head(self.forward_features(x))


def build_classifier(settings: NetworkSettings, findings: Sequence[Finding], ndim: int, channels: int) -> Classifier:
    """Make a classifier with random weights.

    Parameters
    ----------
    settings : NetworkSettings
    findings : sequence of Finding
    ndim : int
        Spatial axes of the plan.
    channels : int
        Channels of the plan.
    """
    return Classifier(settings.backbone.build(ndim, channels), findings, settings.dropout, settings.ordinal)
