"""A head that is trained beside those of the findings, and that no package has."""

from typing import Any

from torch import nn


class SpareHead(nn.Module):
    """A linear head behind the pooled features. Its weights begin at zero: nothing is drawn at random for it.

    Parameters
    ----------
    features : int
        Of the backbone.
    outputs : int
    weight : float
        Of its loss, beside that of the findings.
    """

    def __init__(self, features: int, outputs: int, weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.head = nn.Linear(features, outputs, device="meta").to_empty(device="cpu")
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Arguments of a torch optimizer: the matrix decays, the biases do not."""
        return [
            {"params": [self.head.weight], "weight_decay": weight_decay},
            {"params": [self.head.bias], "weight_decay": 0.0},
        ]
