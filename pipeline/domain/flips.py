"""Mirror images: along which axes one is made."""

from collections.abc import Sequence
from itertools import chain, combinations


def flip_combinations(axes: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """All subsets of `axes`, the empty one (no flip) first: 2 to the power of ``len(axes)`` of them."""
    ordered = sorted(set(axes))
    return tuple(chain.from_iterable(combinations(ordered, count) for count in range(len(ordered) + 1)))
