"""What a network learns beside the findings. Imports no torch."""

from typing import Self

from pydantic import Field, PositiveFloat, model_validator

from pipeline.config import Settings


class AuxiliarySettings(Settings):
    """Measurements that a network learns to tell beside the findings, and that its package leaves out."""

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

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        if "" in self.covariates or len(set(self.covariates)) < len(self.covariates):
            raise ValueError(f"auxiliary.covariates: {list(self.covariates)} has an empty name, or one twice")
        return self
