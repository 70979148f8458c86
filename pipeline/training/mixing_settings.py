"""Which training images are mixed with others. Imports no torch."""

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from pipeline.config import Settings


class MixingSettings(Settings):
    """Mixing of the images of a batch and of their labels; for long trainings of few cases. Off by default."""

    mixup: NonNegativeFloat = Field(
        default=0.0,
        description="Alpha of mixup, 0.1 to 0.4: an image becomes a share of itself and the rest of another, and so "
        "does its loss; the share is Beta(alpha, alpha), drawn for each batch (Zhang et al. 2018). Smooths decisions "
        "where labels are noisy; its pictures are no anatomy, so probabilities become cautious. 0: off.",
    )
    cutmix: NonNegativeFloat = Field(
        default=0.0,
        description="Alpha of cutmix, 1 as a rule: a box of the image comes from another, and the loss is shared by "
        "volume (Yun et al. 2019). Not where the finding is one small place, which the box may cut out. 0: off.",
    )
    probability: float = Field(default=1.0, gt=0, le=1, description="Share of the batches that are mixed.")
    switch: float = Field(
        default=0.5, ge=0, le=1, description="Share of the mixed batches that get cutmix, where both are on."
    )
    pure_epochs: NonNegativeInt = Field(
        default=0, description="Epochs at the end without mixing, so that training ends on images as they are."
    )

    @property
    def active(self) -> bool:
        """Whether anything is mixed."""
        return self.mixup > 0 or self.cutmix > 0
