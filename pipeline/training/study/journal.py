"""One journal for the networks of a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.domain.journal import Journal


class OfNetwork:
    """The part of a study's journal that one network writes.

    Its metrics are named ``METRIC/NETWORK``, so that MLflow draws all networks' curves of one metric together.
    """

    def __init__(self, journal: Journal, network: str) -> None:
        self._journal = journal
        self._network = network

    def params(self, values: Mapping[str, str | int | float | bool]) -> None:
        """Record settings of this network."""
        self._journal.params({f"{name}/{self._network}": value for name, value in values.items()})

    def tags(self, values: Mapping[str, str]) -> None:
        """Record tags of this network."""
        self._journal.tags({f"{name}/{self._network}": value for name, value in values.items()})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record what was measured on this network."""
        self._journal.metrics({f"{name}/{self._network}": value for name, value in values.items()}, step)

    def curve(self, name: str, points: Sequence[tuple[int, float]]) -> None:
        """Record what was measured on this network at many steps."""
        self._journal.curve(f"{name}/{self._network}", points)

    def artifact(self, path: Path, folder: str = "") -> None:
        """Record a file of this network."""
        self._journal.artifact(path, f"{folder}/{self._network}".strip("/"))
