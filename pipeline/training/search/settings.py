"""What a search may vary."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipeline.config import Settings


class FloatRange(Settings):
    """A real number."""

    kind: Literal["float"]
    low: float = Field(description="Smallest value.")
    high: float = Field(description="Largest value.")
    log: bool = Field(default=False, description="Search the logarithm: for rates and decays, whose order counts.")
    step: PositiveFloat | None = Field(default=None, description="Only multiples of it above `low`; null: any value.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_range(self.low, self.high, self.log)
        if self.log and self.step:
            raise ValueError("log and step exclude each other")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that must be valid for the range to be."""
        return (self.low, self.high)


class IntRange(Settings):
    """A whole number."""

    kind: Literal["int"]
    low: int = Field(description="Smallest value.")
    high: int = Field(description="Largest value.")
    log: bool = Field(default=False, description="Search the logarithm.")
    step: PositiveInt = Field(default=1, description="Only multiples of it above `low`.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_range(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise ValueError("log and step exclude each other")
        return self

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that must be valid for the range to be."""
        return (self.low, self.high)


class Choice(Settings):
    """One of several values, of any type that the setting takes: words, numbers, lists, null."""

    kind: Literal["categorical"]
    choices: tuple[Any, ...] = Field(min_length=2, description="The values.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.words)) != len(self.words):
            raise ValueError(f"choices: {list(self.choices)} names one twice")
        return self

    @property
    def words(self) -> tuple[str, ...]:
        """The values as JSON, as a storage keeps them."""
        return tuple(json.dumps(value) for value in self.choices)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that must be valid for the choice to be."""
        return self.choices


Dimension = Annotated[FloatRange | IntRange | Choice, Field(discriminator="kind")]


def _check_range(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"low {low:g} must be less than high {high:g}")
    if log and low <= 0:
        raise ValueError(f"log needs low above 0, got {low:g}")
