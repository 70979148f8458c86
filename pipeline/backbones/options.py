"""The words of the settings; torch is not needed to say them."""

from typing import Literal

BlockName = Literal["basic", "bottleneck"]
NormName = Literal["batch", "group", "instance", "none"]
ShortcutName = Literal["A", "B", "C"]
StemName = Literal["small", "medium", "large", "deep"]

STEM_STEPS: dict[StemName, int] = {"small": 0, "medium": 1, "large": 2, "deep": 2}
"""Downsamplings of each stem."""
