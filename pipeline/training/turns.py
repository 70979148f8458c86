"""Quarter turns that a network learns to tell beside the findings: a task that needs no labels (Gidaris et al. 2018).

Who knows how an image was turned must have seen what is in it. As :mod:`pipeline.training.auxiliary`, the head that
tells it is no part of the classifier.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.domain.plan import Plan
from pipeline.errors import TrainingError
from pipeline.training.auxiliary_settings import AuxiliarySettings
from pipeline.training.spare_head import SpareHead

QUARTERS = 4


def check_turnable(settings: AuxiliarySettings, plan: Plan, flip_axes: Sequence[int]) -> None:
    """Refuse turns that cannot be made, as the first two axes differ, or cannot be told, as flips make them too.

    Raises
    ------
    TrainingError
    """
    if settings.turns and {0, 1} <= set(flip_axes):
        raise TrainingError(
            "training.auxiliary.turns: an image that is flipped along both of its first axes looks as if turned by a "
            "half, so nobody can tell how it was turned.",
            "Leave one of them out of data.augmentation.flip_axes, or leave training.auxiliary.turns out.",
        )
    if settings.turns and plan.size[0] != plan.size[1]:
        raise TrainingError(
            f"training.auxiliary.turns: images of {' x '.join(map(str, plan.size))} cannot be turned by a quarter.",
            "Give plan.size two equal first sides, or leave training.auxiliary.turns out.",
        )


def quarters(seed: int, epoch: int, case: str) -> int:
    """Draw by how many quarters an image is turned, 0 to 3: from (seed, epoch, case) alone."""
    return hashlib.sha256(f"turn/{seed}/{epoch}/{case}".encode()).digest()[0] % QUARTERS


class Turns(SpareHead):
    """Turns images in the plane of their first two axes; a head tells by how much.

    Parameters
    ----------
    features : int
        Of the backbone.
    seed : int
        What is drawn follows from (seed, epoch, case).
    """

    def __init__(self, settings: AuxiliarySettings, features: int, seed: int) -> None:
        super().__init__(features, QUARTERS, settings.turns)
        self._seed = seed

    def turned(self, images: Tensor, case_ids: Sequence[str], epoch: int) -> Tensor:
        """Turn each image from its first spatial axis to its second.

        Parameters
        ----------
        images : Tensor, shape (n, c, i, j[, k]) with i = j
            Left as they are.
        """
        return torch.stack(
            [image.rot90(turn, (1, 2)) for image, turn in zip(images, self._drawn(case_ids, epoch), strict=True)]
        )

    def forward(self, features: Tensor, case_ids: Sequence[str], epoch: int) -> Tensor:
        """Sum the cross entropies of the turns.

        Parameters
        ----------
        features : Tensor of float32, shape (n, features)
            Of images that :meth:`turned` has turned.
        """
        wanted = torch.tensor(self._drawn(case_ids, epoch), device=features.device)
        with torch.autocast(features.device.type, enabled=False):
            return nn.functional.cross_entropy(self.head(features), wanted, reduction="sum")

    def _drawn(self, case_ids: Sequence[str], epoch: int) -> list[int]:
        return [quarters(self._seed, epoch, case) for case in case_ids]
