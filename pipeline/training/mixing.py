"""Mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019) of a batch, on its device.

What is mixed with what follows from (seed, epoch, batch, rank) alone, and draws from a generator of its own: a resumed
run mixes the same, and dropout draws what it would without.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.training.mixing_settings import MixingSettings

MIXING_STREAM = 0x6D6978
"""Sets these draws apart from the other draws of a seed."""


class Mix(NamedTuple):
    """How a batch is mixed.

    Attributes
    ----------
    partner : tuple of int
        Of each case: the place in the batch of the other one.
    share : float
        Weight of the case itself in the loss; its partner has the rest.
    box : tuple of slice
        Along each axis of space: where the voxels are the partner's; empty for mixup.
    """

    partner: tuple[int, ...]
    share: float
    box: tuple[slice, ...] = ()

    def images(self, images: Tensor) -> Tensor:
        """Mix images, shape (n, c, *space); those given are not changed."""
        others = images[torch.tensor(self.partner, device=images.device)]
        if not self.box:
            return torch.lerp(others, images, self.share)
        mixed = images.clone()
        where = (slice(None), slice(None), *self.box)
        mixed[where] = others[where]
        return mixed

    def loss(
        self,
        loss: Callable[[Tensor, Tensor], Tensor],
        logits: Tensor,
        labels: Tensor,
        part: slice = slice(None),
    ) -> Tensor:
        """Loss by the labels of a case and by those of its partner, each side's unknown ones left out by itself.

        Parameters
        ----------
        logits : Tensor, shape (n, outputs)
        labels : Tensor of int64, shape (cases of the batch, columns)
        part : slice
            Which of the batch the n cases are.
        """
        others = labels[torch.tensor(self.partner, device=labels.device)]
        mixed: Tensor = self.share * loss(logits, labels[part]) + (1.0 - self.share) * loss(logits, others[part])
        return mixed

    def names(self, cases: Sequence[str]) -> list[str]:
        """Each case with its partner, for messages."""
        return [f"{case} with {cases[other]}" for case, other in zip(cases, self.partner, strict=True)]


def draw_mix(
    settings: MixingSettings, cases: int, space: Sequence[int], place: Sequence[int], epochs_left: int
) -> Mix | None:
    """Draw how a batch is mixed; None where it stays as it is.

    Parameters
    ----------
    cases : int
        In the batch; one alone has nobody to be mixed with. Of several none is mixed with itself.
    space : sequence of int
        Voxels along each axis.
    place : sequence of int
        Seed, epoch, batch and rank.
    epochs_left : int
        Including this one.
    """
    if not settings.active or cases < 2 or epochs_left <= settings.pure_epochs:
        return None
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([*place, MIXING_STREAM])))
    order = rng.permutation(cases)
    partner = np.empty(cases, dtype=np.int64)
    partner[order] = np.roll(order, 1)
    mixed, switched = rng.random(2)
    if mixed >= settings.probability:
        return None
    cuts = settings.cutmix > 0 and (settings.mixup == 0 or switched < settings.switch)
    alpha = settings.cutmix if cuts else settings.mixup
    share = float(rng.beta(alpha, alpha))
    others = tuple(partner.tolist())
    if not cuts:
        return Mix(others, share)
    box = _box(rng, space, 1.0 - share)
    cut = float(np.prod([part.stop - part.start for part in box])) / float(np.prod(space))
    return Mix(others, 1.0 - cut, box)


def _box(rng: np.random.Generator, space: Sequence[int], volume: float) -> tuple[slice, ...]:
    """Box of the proportions of the image around any of its voxels, cut off at the edges; at most `volume` of it."""
    side = volume ** (1.0 / len(space))
    box = []
    for length in space:
        width = int(length * side)
        start = int(rng.integers(length)) - width // 2
        box.append(slice(min(max(start, 0), length), min(max(start + width, 0), length)))
    return tuple(box)
