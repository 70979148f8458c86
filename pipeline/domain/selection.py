"""Settings of which series of a study are wanted, and the rule that tells whether one is."""

import re
from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, field_validator, model_validator

from pipeline.config import Settings
from pipeline.domain.contrast_agent import Agent, agent_of
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


class SeriesRules(Settings):
    """Rules that a series has to pass, all of them. A series that lacks what a rule asks for does not pass it."""

    modality: tuple[str, ...] = Field(default=(), description="Modalities wanted: [CT], [MR], ...; empty takes all.")
    plane: Plane | None = Field(default=None, description="Plane of the slices wanted; null takes all.")
    slice_thickness: Range = Field(
        default=Range(), description="Of the slices, in mm; where the header does not say, their distance."
    )
    kernel: str = Field(
        default="", description="Regular expression that matches the whole of ConvolutionKernel: 'B[23].*'."
    )
    contrast: Literal["with", "without"] | None = Field(
        default=None,
        description="Whether ContrastBolusAgent (of enhanced objects, ContrastBolusAgentSequence) names an agent. "
        "DICOM asks for it where one was given: a header that lacks it, or says NONE, native, no IV contrast and the "
        "like, is without; an unclear one (oral, ?, an agent in some of the frames) is neither.",
    )
    image_type: tuple[str, ...] = Field(
        default=(), description="Values that ImageType must hold, all of them: [ORIGINAL, PRIMARY]."
    )
    description: str = Field(
        default="", description="Regular expression found somewhere in SeriesDescription; (?i) ignores case."
    )
    path: str = Field(
        default="",
        description="Regular expression found somewhere in the path of its files below the scan folder: '_T1w\\.nii'. "
        "NIfTI files and pictures say of themselves little else.",
    )
    attributes: dict[str, str] = Field(
        default={},
        description="Attribute to regular expression that matches the whole of it, as {view: CC, vendor: 'GE.*'}; "
        "attributes: site, vendor, laterality, view, body_part, image_type, echo, contrast, kernel, ...",
    )

    @field_validator("description", "kernel", "path")
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
        return next(self.dropped_by(series), None) is None

    def given(self) -> Iterator[str]:
        """Yield the names of the rules that are set, as :meth:`dropped_by` names them."""
        plain = (name for name in SeriesRules.model_fields if name != "attributes")
        yield from (name for name in plain if getattr(self, name) != SeriesRules.model_fields[name].default)
        yield from (f"attributes.{name}" for name, rule in self.attributes.items() if rule)

    def dropped_by(self, series: Series) -> Iterator[str]:
        """Yield the names of the rules that a series does not pass."""
        known = series.attributes
        passed = {
            "modality": not self.modality or series.modality in self.modality,
            "plane": self.plane is None or known.get("plane") == self.plane.value,
            "slice_thickness": self.slice_thickness.holds(thickness(series)),
            "kernel": not self.kernel or re.fullmatch(self.kernel, known.get("kernel", "")) is not None,
            "contrast": self.contrast is None or self.contrast == contrast(series),
            "image_type": set(self.image_type) <= set(known.get("image_type", "").split("\\")),
            "description": not self.description or re.search(self.description, series.description) is not None,
            "path": not self.path or any(re.search(self.path, file.relative) for file in series.files),
        }
        for name, rule in self.attributes.items():
            passed[f"attributes.{name}"] = not rule or re.fullmatch(rule, known.get(name, "")) is not None
        return (name for name, is_passed in passed.items() if not is_passed)


class Channel(SeriesRules):
    """Which series of a study fills one channel of its case: exactly one must pass these rules and those of select."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,40}$", description="Name of the channel: T1, arterial, ...")


class Selection(SeriesRules):
    """Which series are wanted: those that every given rule admits. A series that lacks what a rule asks for is not."""

    unit: Literal["study", "series"] = Field(
        default="study", description="What one case is. A mammography study is always a case for each side."
    )
    several: Literal["refuse", "most_slices"] = Field(
        default="refuse",
        description="Where several series of one study (or for one channel) are left: refuse the study, or take the "
        "series with the most slices, among equals the one with the thinnest.",
    )
    channels: tuple[Channel, ...] = Field(
        default=(),
        description="Several series of a study as channels of one case, in this order: [{name: T1, description: "
        "'(?i)t1'}, {name: T2, description: '(?i)t2'}]. The others are resampled to the grid of the first. "
        "Empty: a case is one series.",
    )
    missing: Literal["reject", "empty"] = Field(
        default="reject",
        description="A study without a series for a channel: reject it (MISSING_SERIES), or leave the channel empty "
        "(zeros, in no statistic, noted in the case). The first channel must be there: it gives the grid.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [channel.name for channel in self.channels]
        if len(names) == 1:
            raise ValueError("channels: one channel is no stack; write its rules into select itself")
        if len(set(names)) < len(names):
            raise ValueError("channels: two have one name")
        if names and self.unit == "series":
            raise ValueError("channels: they are series of one study, so that unit cannot be series")
        return self


def contrast(series: Series) -> Agent:
    """Whether the header names a contrast agent (PS3.3 C.7.6.4: ContrastBolusAgent is there where one was given)."""
    return agent_of(series.attributes.get("contrast", ""))


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
