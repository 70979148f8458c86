"""What a network learns beside the findings. Imports no torch."""

from typing import Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, model_validator

from pipeline.config import Settings


class AuxiliarySettings(Settings):
    """What a network learns to tell beside the findings, and its package leaves out."""

    covariates: tuple[str, ...] = Field(
        default=(),
        description="Covariates of the manifest that are numbers and can be seen in the image, such as a volume or a "
        "thickness (`labels.covariates` of ingest). Where cases are few they may show the network what to look at; "
        "scans that are predicted need none (multitask learning, Caruana 1997). Empty: the findings alone.",
    )
    weight: PositiveFloat = Field(
        default=0.3,
        description="Of their squared error, in standard deviations of the training cases and as the mean over what is "
        "known of a batch, beside the loss of the findings.",
    )
    turns: NonNegativeFloat = Field(
        default=0.0,
        description="Above 0, each training image is turned by none to three quarters in the plane of its first two "
        "axes, and the network learns to tell by how many; this is the weight of that cross entropy beside the loss of "
        "the findings, 1 is usual. It needs no labels, and is for first weights of other networks: one that is to tell "
        "the findings of upright scans need not see them lie (Gidaris et al. 2018). 0: off.",
    )

    @property
    def active(self) -> bool:
        """Whether anything is learned beside the findings."""
        return bool(self.covariates or self.turns)

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        if "" in self.covariates or len(set(self.covariates)) < len(self.covariates):
            raise ValueError(f"auxiliary.covariates: {list(self.covariates)} has an empty name, or one twice")
        return self
