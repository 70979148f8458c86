"""What the numbers and UIDs of images say of their series.

A slice lost at an end leaves positions as even as they were, and only InstanceNumber shows it.
"""

from collections import Counter
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


def images_of_one_uid(uids: Iterable[str]) -> str:
    """Say how many different images of a series share a SOPInstanceUID; empty: none.

    It is to be unique (PS3.3 C.12.1.1.1), and careless anonymisation writes one into all.
    """
    counts = [count for count in Counter(uids).values() if count > 1]
    if not counts:
        return ""
    kinds = "one SOPInstanceUID" if len(counts) == 1 else f"{len(counts)} SOPInstanceUIDs"
    return f"{sum(counts)} different images share {kinds}: what refers to them by it cannot tell them apart"
