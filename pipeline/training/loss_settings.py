"""What is minimised. Imports no torch."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from pipeline.config import Settings

OrdinalLoss = Literal["thresholds", "grades"]
"""What of an ordinal finding is told apart."""

ClassWeights = Literal["none", "balanced", "effective_number"]


class LossSettings(Settings):
    """The loss of one label; unknown labels never count. Validation always reports the plain cross entropy."""

    kind: Literal["cross_entropy", "focal", "logit_adjusted"] = Field(
        default="cross_entropy",
        description="cross_entropy: the usual, and what keeps probabilities honest. focal: labels that are already "
        "told well count less, for many easy cases beside few hard ones (Lin et al. 2017); pulls probabilities to the "
        "middle. logit_adjusted: tau times the log frequency of each class is added to its logit in training only, "
        "for rare classes that must be found as often as frequent ones (Menon et al. 2021); probabilities are then "
        "those of equally frequent classes. It needs class_weights: none, and there is none for ordinal findings.",
    )
    gamma: NonNegativeFloat = Field(
        default=2.0, description="Of focal: a label told with probability p weighs (1 - p)^gamma; 0 is cross_entropy."
    )
    tau: PositiveFloat = Field(
        default=1.0, description="Of logit_adjusted: 1 balances the classes, less goes part of the way."
    )
    ordinal: OrdinalLoss = Field(
        default="thresholds",
        description="Of ordinal findings. thresholds: mean over thresholds t of the cross entropy of whether the grade "
        "is above t; a grade missed by two costs about twice. grades: of the probability of the grade itself, which is "
        "the maximum likelihood of proportional odds, and with network.ordinal: grades softmax cross entropy; every "
        "miss counts alike, rare grades in the middle more.",
    )
    beta: float = Field(
        default=0.999,
        gt=0,
        lt=1,
        description="Of class_weights: effective_number: n cases count as (1 - beta^n) / (1 - beta), so that beyond "
        "some 1 / (1 - beta) cases more of a class add nothing. Towards 1 it becomes balanced, towards 0 none.",
    )
