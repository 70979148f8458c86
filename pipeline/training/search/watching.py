"""A journal that also shows each epoch's validation to somebody, who may stop the training."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.domain.journal import Journal

Watch = Callable[[int, Mapping[str, float]], None]
"""Takes the epoch (from 1) and what it measured; raises :class:`pipeline.errors.OutdoneError` to stop the training."""


class Watched:
    """Implements :class:`pipeline.domain.journal.Journal` around another one."""

    def __init__(self, journal: Journal, watch: Watch) -> None:
        self._journal = journal
        self._watch = watch

    def params(self, values: Mapping[str, str | int | float | bool]) -> None:
        """Hand on."""
        self._journal.params(values)

    def tags(self, values: Mapping[str, str]) -> None:
        """Hand on."""
        self._journal.tags(values)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Hand on; show what an epoch measured on validation."""
        self._journal.metrics(values, step)
        if "val/loss" in values:
            self._watch(step, values)

    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        """Hand on."""
        self._journal.curve(name, points)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Hand on."""
        self._journal.artifact(path, folder)
