"""What of a network is trained, and how fast."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from pipeline.config import Settings


class LoraSettings(Settings):
    """Low-rank adapters (LoRA, Hu et al. 2021)."""

    rank: NonNegativeInt = Field(
        default=0,
        description="Rank of what is added to the weights of each convolution and linear layer of the backbone, 4 to "
        "16; the weights themselves stand still. Merged when the model is packed, so that predictions cost nothing. "
        "Grouped convolutions are left out and listed. 0: no adapters. Needs `pip install resdx[lora]`.",
    )
    alpha: PositiveInt = Field(
        default=16, description="What the adapters add is multiplied by alpha / rank; once to twice the rank as a rule."
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before each adapter, e.g. 0.1 for few cases.")
    stages: Literal["all"] | tuple[str, ...] = Field(
        default="all",
        description="Stages that get adapters, e.g. [stage3, stage4]; any other trains whole unless it is frozen.",
    )


class FinetuneSettings(Settings):
    """Fine-tuning of a network whose weights come from elsewhere; by default everything trains alike."""

    frozen: tuple[str, ...] = Field(
        default=(),
        description="Stages that stand still, e.g. [stem, stage1]: weights and statistics of norms; nothing in them is "
        "dropped at random. The heads always train.",
    )
    thaw: dict[str, PositiveInt] = Field(
        default={},
        description="Frozen stages that train after so many epochs, e.g. {stage1: 5}: it stands still in epochs 1 to "
        "5. Its learning rate then rises over as many steps as that of the run did (warmup_epochs).",
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Factor on the learning rate for each stage away from the heads, e.g. 0.7: the last stage learns "
        "at 0.7 of learning_rate, the one before at 0.49, the stem slowest. 1: all alike.",
    )
    norms: Literal["train", "fixed_statistics", "frozen"] = Field(
        default="train",
        description="fixed_statistics: batch norms use the running statistics of the loaded weights, in training too; "
        "what small batches need. Scale and offset train. frozen: scale and offset stand still as well.",
    )
    lora: LoraSettings = Field(default=LoraSettings(), description="Low-rank adapters: few parameters for few cases.")

    @property
    def active(self) -> bool:
        """Whether anything differs from plain training."""
        return self != FinetuneSettings()

    @field_validator("frozen")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names a stage twice")
        return value

    @model_validator(mode="after")
    def _thaws_what_is_frozen(self) -> Self:
        never = sorted(set(self.thaw) - set(self.frozen))
        if never:
            raise ValueError(f"thaw names {', '.join(never)}, which `frozen` does not")
        return self

    def standstill(self) -> Mapping[str, float]:
        """Epochs that each frozen stage stands still; infinite where it never thaws."""
        return {stage: float(self.thaw.get(stage, float("inf"))) for stage in self.frozen}
