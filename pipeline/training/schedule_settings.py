"""How the learning rate moves. Imports no torch."""

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, model_validator

from pipeline.config import Settings


class ScheduleSettings(Settings):
    """Course of the learning rate, as a factor on `learning_rate`."""

    kind: Literal["cosine", "one_cycle", "plateau", "step", "constant"] = Field(
        default="cosine",
        description="cosine: rises over warmup_epochs, then half a cosine down to final_rate; right for most "
        "(Loshchilov and Hutter 2017). one_cycle: from peak / start_divisor up to the peak and down to almost nothing, "
        "for few epochs at a high rate (Smith 2018); warmup_epochs and final_rate do not count. plateau: falls by "
        "`factor` whenever validation no longer gains, where the number of epochs is not known beforehand. step: "
        "falls by `factor` at set epochs, as in many papers. constant: stays. The last three rise over "
        "warmup_epochs too.",
    )
    rise: float = Field(default=0.3, gt=0, lt=1, description="Of one_cycle: share of the steps that go up.")
    start_divisor: PositiveFloat = Field(
        default=25.0, description="Of one_cycle: it begins at the peak divided by this."
    )
    final_divisor: PositiveFloat = Field(
        default=1e4, description="Of one_cycle: it ends at its beginning divided by this."
    )
    cycle_momentum: bool = Field(
        default=True,
        description="Of one_cycle: momentum (adamw: its first beta) falls from 0.95 to 0.85 while the rate rises, and "
        "back, whatever `momentum` says.",
    )
    factor: float = Field(
        default=0.1, gt=0, lt=1, description="Of step and plateau: the rate is multiplied by this each time."
    )
    drop_every: NonNegativeFloat = Field(default=0.0, description="Of step: fall every so many epochs.")
    drop_at: tuple[PositiveFloat, ...] = Field(default=(), description="Of step: fall after such epochs: [30, 60].")
    patience: NonNegativeInt = Field(
        default=10, description="Of plateau: epochs without a gain that are borne before the rate falls."
    )
    least_gain: NonNegativeFloat = Field(
        default=1e-4, description="Of plateau: a gain of the validation score that counts (AUROC, or the loss)."
    )
    least_rate: NonNegativeFloat = Field(
        default=1e-3, description="Of plateau: the rate never falls below this share of its peak."
    )

    @model_validator(mode="after")
    def _falls_when_told(self) -> Self:
        if self.kind == "step" and bool(self.drop_every) == bool(self.drop_at):
            raise ValueError("kind step needs either drop_every or drop_at")
        return self
