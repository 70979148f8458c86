"""Settings of which series of a study are wanted, and the rule that tells whether one is."""

import re
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, field_validator, model_validator

from pipeline.config import Settings
from pipeline.domain.geometry import Plane
from pipeline.domain.series import Series


class Range(Settings):
    """Limits, both included; null is no limit."""

    min: NonNegativeFloat | None = Field(default=None, description="Smallest, in mm; null: no limit.")
    max: NonNegativeFloat | None = Field(default=None, description="Largest, in mm; null: no limit.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is larger than max {self.max}")
        return self

    @property
    def is_open(self) -> bool:
        """Whether it limits nothing."""
        return self.min is None and self.max is None

    def holds(self, value: float | None) -> bool:
        """Whether a value lies within; one that is not known lies only within no limits."""
        if value is None:
            return self.is_open
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


class Selection(Settings):
    """Which series are wanted: those that every given rule admits. A series that lacks what a rule asks for is not."""

    modality: tuple[str, ...] = Field(default=(), description="Modalities wanted: [CT], [MR], ...; empty takes all.")
    plane: Plane | None = Field(default=None, description="Plane of the slices wanted; null takes all.")
    slice_thickness: Range = Field(
        default=Range(), description="Of the slices, in mm; where the header does not say, their distance."
    )
    description: str = Field(
        default="", description="Regular expression found somewhere in SeriesDescription; (?i) ignores case."
    )
    attributes: dict[str, str] = Field(
        default={},
        description="Attribute to regular expression that matches the whole of it, as {view: CC, kernel: 'B[23].*'}; "
        "attributes: site, vendor, laterality, view, body_part, image_type, echo, contrast, kernel, ...",
    )
    unit: Literal["study", "series"] = Field(
        default="study", description="What one case is. A mammography study is always a case for each side."
    )
    several: Literal["refuse", "most_slices"] = Field(
        default="refuse",
        description="Where several series of one study are left: refuse the study, or take the series with the most "
        "slices, among equals the one with the thinnest.",
    )

    @field_validator("description")
    @classmethod
    def _expression(cls, text: str) -> str:
        _compile(text)
        return text

    @field_validator("attributes")
    @classmethod
    def _expressions(cls, rules: dict[str, str]) -> dict[str, str]:
        for text in rules.values():
            _compile(text)
        return rules

    def wants(self, series: Series) -> bool:
        """Whether every rule admits a series."""
        known = series.attributes
        return (
            (not self.modality or series.modality in self.modality)
            and (self.plane is None or known.get("plane") == self.plane.value)
            and self.slice_thickness.holds(thickness(series))
            and (not self.description or re.search(self.description, series.description) is not None)
            and all(re.fullmatch(rule, known.get(name, "")) for name, rule in self.attributes.items() if rule)
        )


def thickness(series: Series) -> float | None:
    """Thickness of the slices in mm; where the header does not say, their distance; None where neither is known."""
    told = series.attributes.get("slice_thickness") or series.attributes.get("spacing", "").rpartition("x")[2]
    try:
        return float(told)
    except ValueError:
        return None


def _compile(text: str) -> None:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from error
