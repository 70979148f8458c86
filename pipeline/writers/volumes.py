"""What a writer of volumes does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pipeline.domain.volume import Volume

Fact = str | int | float | None
"""What stands beside the volume's own facts; never an identifier."""


class VolumeWriter(Protocol):
    """Volumes in one format, each with what is known about it in JSON."""

    suffixes: tuple[str, ...]
    """Endings of the files that one volume makes, with the dot."""

    def write(self, stem: Path, volume: Volume, facts: Mapping[str, Fact]) -> tuple[Path, ...]:
        """Replace the files ``stem + suffix``, each in one step; equal volumes give equal bytes.

        Parameters
        ----------
        stem : Path
            Folder and name, without ending.
        volume : Volume
            Written in stored order, never resampled.
        """
