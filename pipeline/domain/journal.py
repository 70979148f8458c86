"""Where training writes what it measures; tracking replays it. Training knows nothing of MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class Journal(Protocol):
    """An append-only record of one run."""

    def params(self, values: Mapping[str, str | int | float | bool]) -> None:
        """Record settings."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record measured values at a step."""

    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        """Record one measured value at many steps, (step, value), at once."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Record a file or folder that belongs to the run."""


class NullJournal:
    """A Journal that keeps nothing."""

    def params(self, values: Mapping[str, str | int | float | bool]) -> None:
        """Ignore."""

    def tags(self, values: Mapping[str, str]) -> None:
        """Ignore."""

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Ignore."""

    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        """Ignore."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Ignore."""
