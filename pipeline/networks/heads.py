"""From a feature vector to the logits of one finding."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.domain.finding import Finding, FindingKind
from pipeline.networks.settings import OrdinalKind

HEAD_STD = 0.01
"""Deviation of a fresh head's weights: the first predictions are near indifference."""


class OrdinalHead(nn.Module):
    """Cumulative logits ``P(y > t) = sigmoid(score - cut_t)`` (proportional odds, McCullagh 1980).

    One score is shared by all thresholds and the cuts rise, so that the probabilities of higher thresholds never
    exceed those of lower ones.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.score = nn.Linear(features, 1, bias=False)
        nn.init.normal_(self.score.weight, std=HEAD_STD)
        self.first_cut = nn.Parameter(torch.tensor(-(outputs - 1) / 2))
        self.raw_gaps = nn.Parameter(torch.full((outputs - 1,), 0.5413))  # softplus of it is 1

    def cuts(self) -> Tensor:
        """Rising thresholds, shape (outputs,)."""
        gaps = F.softplus(self.raw_gaps)
        return self.first_cut + torch.cat([gaps.new_zeros(1), gaps.cumsum(0)])

    def forward(self, features: Tensor) -> Tensor:
        """(n, features) to logits (n, outputs), falling along the second axis."""
        score: Tensor = self.score(features)
        return score - self.cuts()


class GradesHead(nn.Module):
    """Cumulative logits of grades that each have a score of their own (softmax).

    ``log P(y > t) - log P(y <= t)``, with P the softmax of one linear score a grade: the probabilities of higher
    thresholds never exceed those of lower ones, and a grade may look like none beside it.
    """

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.scores = _linear(features, outputs + 1)

    def forward(self, features: Tensor) -> Tensor:
        """(n, features) to logits (n, outputs), falling along the second axis."""
        scores: Tensor = self.scores(features)
        up_to = scores.logcumsumexp(dim=1)[:, :-1]
        above = scores.flip(1).logcumsumexp(dim=1).flip(1)[:, 1:]
        return above - up_to


def make_head(finding: Finding, features: int, ordinal: OrdinalKind = "proportional") -> nn.Module:
    """Make the head of a finding: ``(n, features)`` to ``(n, finding.outputs)``."""
    if finding.kind is FindingKind.ORDINAL:
        return (
            OrdinalHead(features, finding.outputs)
            if ordinal == "proportional"
            else GradesHead(features, finding.outputs)
        )
    return _linear(features, finding.outputs)


def _linear(features: int, outputs: int) -> nn.Linear:
    head = nn.Linear(features, outputs)
    nn.init.normal_(head.weight, std=HEAD_STD)
    nn.init.zeros_(head.bias)
    return head
