"""What a network learns beside the findings. Imports no torch."""

from pydantic import Field, PositiveFloat

from pipeline.config import Settings


class AuxiliarySettings(Settings):
    """Measurements that a network learns to tell beside the findings, and that its package leaves out."""

    covariates: tuple[str, ...] = Field(
        default=(),
        description="Covariates of the manifest that are numbers and can be seen in the image, such as a volume or a "
        "thickness (`labels.covariates` of ingest). Where cases are few they show the network what to look at; scans "
        "that are predicted need none (multitask learning, Caruana 1997). Empty: the findings alone.",
    )
    weight: PositiveFloat = Field(
        default=0.3,
        description="Of their mean squared error, in standard deviations of the training cases, beside the loss of "
        "the findings.",
    )
