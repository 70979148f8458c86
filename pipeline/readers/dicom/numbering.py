"""What InstanceNumber says is missing: a slice lost at an end leaves positions as even as they were."""

from collections.abc import Iterable
from itertools import pairwise

LONGEST = 12
"""Characters of an IS (PS3.5 6.2)."""


def missing_images(numbers: Iterable[str]) -> str:
    """Say which images of a series are missing by their numbers, counted from 1 or 0; empty: none, or it does not tell.

    It tells where the numbers are consecutive but for one gap of fewer images than there are: others count through an
    examination, or have a scheme of their own. What is missing after the last number cannot be known.

    Parameters
    ----------
    numbers : iterable of str
        InstanceNumber (PS3.3 C.7.6.1) of each image, also of those that are refused.
    """
    written = [number.strip() for number in numbers]
    if not written or not all(number.isascii() and number.isdecimal() and len(number) <= LONGEST for number in written):
        return ""
    present = sorted({int(number) for number in written})
    before_first = -1 if present[0] == 0 else 0
    lost = [after - before - 1 for before, after in pairwise([before_first, *present])]
    gaps = [count for count in lost if count]
    if len(gaps) != 1 or gaps[0] >= len(present):
        return ""
    where = "at an end" if lost[0] else "in the middle"
    return f"{gaps[0]} of {gaps[0] + len(present)} images are missing {where}"
