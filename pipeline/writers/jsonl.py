"""JSON Lines: one :class:`pipeline.domain.prediction.Prediction` a line, whole and in full precision."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline import atomic
from pipeline.config import Part
from pipeline.domain.finding import Finding
from pipeline.domain.prediction import Prediction
from pipeline.writers.predictions import PredictionWriter, ordered


class Config(Part):
    """The JSON Lines writer has no settings."""

    kind: Literal["jsonl"] = "jsonl"

    def build(self) -> PredictionWriter:
        """Make the writer."""
        return JsonlWriter()


class JsonlWriter:
    """Implements :class:`pipeline.writers.predictions.PredictionWriter`; each line validates as a Prediction."""

    suffix = ".jsonl"

    def write(self, path: Path, predictions: Sequence[Prediction], findings: Sequence[Finding]) -> None:
        """See :meth:`pipeline.writers.predictions.PredictionWriter.write`; a Prediction names its own findings."""
        lines = [one.model_dump_json() for one in ordered(predictions)]
        atomic.write_text(path, "".join(f"{line}\n" for line in lines))
