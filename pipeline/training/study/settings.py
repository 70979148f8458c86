"""How every network of a study of depth is trained: one set of settings for all of them."""

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from pipeline.config import Settings


class CourseSettings(Settings):
    """Steps, optimizer and what is measured when. Nothing here can be chosen for one network alone."""

    steps: PositiveInt = Field(default=600, description="Training steps of each network.")
    batch_size: PositiveInt | None = Field(default=None, description="Cases a step; null takes the plan's.")
    optimizer: Literal["sgd", "adamw"] = Field(
        default="sgd", description="sgd with Nesterov momentum of 0.9, as depth has been studied with; or adamw."
    )
    learning_rate: PositiveFloat = Field(
        default=0.05,
        description="Peak of the learning rate. He et al. 2016 took 0.1 with batches of 128; half of it goes with half "
        "the batch. For adamw rather 0.001.",
    )
    weight_decay: NonNegativeFloat = Field(default=1e-4, description="Decay of weights; norms and biases are left out.")
    warmup_steps: NonNegativeInt = Field(
        default=100,
        description="Linear rise of the learning rate, in steps. Very deep networks do not start without one.",
    )
    final_rate: float = Field(
        default=0.01, ge=0, le=1, description="Where the cosine ends, as a share of the peak learning rate."
    )
    gradient_clip: NonNegativeFloat = Field(
        default=0.0, description="Largest gradient norm; 0 does not clip, so that an explosion shows."
    )
    measure_every: PositiveInt = Field(
        default=50, description="Steps between two measurements of the losses and the AUROC, in eval mode."
    )
    measured_cases: PositiveInt = Field(
        default=1000,
        description="Training cases whose loss is measured, without augmentation: the same ones for every network, "
        "seed and step.",
    )
    gradient_steps: tuple[NonNegativeInt, ...] = Field(
        default=(0, 100, 300),
        description="Steps whose gradient norm by layer is kept; 0 is the first one, at the initial weights. The last "
        "step of a network is always kept.",
    )
