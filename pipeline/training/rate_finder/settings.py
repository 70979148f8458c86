"""How a learning rate is looked for. Imports no torch."""

from typing import Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from pipeline.config import Settings


class RateFinderSettings(Settings):
    """Learning rate range test (Smith 2017) before the first epoch, on a copy of the network and real batches."""

    enabled: bool = Field(
        default=False,
        description="Look for the learning rate; what is found takes the place of learning_rate. For a new kind of "
        "data or network, where nobody knows the rate; a rate that a paper gives for yours is as good. Costs `steps` "
        "training steps, once a run. Its steps are of one batch in one process: with accumulate, or several processes, "
        "training makes larger steps, for which the found rate is on the low side.",
    )
    lowest: PositiveFloat = Field(default=1e-6, description="Rate of the first step.")
    highest: PositiveFloat = Field(default=1.0, description="Rate of the last step, if the loss holds that long.")
    steps: int = Field(default=100, ge=20, description="Steps between them, each a constant factor above the last.")
    choose: Literal["steepest", "below_divergence"] = Field(
        default="steepest",
        description="steepest: the rate at which the smoothed loss falls fastest; a cautious peak. below_divergence: "
        "a tenth of the rate at which the loss is back where it began; bolder, for one_cycle.",
    )

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.highest < 10 * self.lowest:
            raise ValueError(f"highest {self.highest:g} must be ten times lowest {self.lowest:g} or more")
        return self
