"""The whole table, in its order."""

from collections.abc import Iterator

from oddities import files, grouping, others, pixels
from oddities.row import Oddity, Phantom

ROWS: tuple[Oddity, ...] = (*grouping.ROWS, *pixels.ROWS, *files.ROWS, *others.ROWS)


def phantoms() -> Iterator[tuple[Oddity, Phantom]]:
    """Every phantom with its row."""
    return ((row, phantom) for row in ROWS for phantom in row.phantoms)
