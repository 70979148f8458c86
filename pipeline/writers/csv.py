"""CSV: one row a case, for spreadsheets; probabilities with six decimals."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pipeline import atomic
from pipeline.config import Part
from pipeline.domain.cells import csv_text, table_bytes
from pipeline.domain.finding import Finding
from pipeline.domain.prediction import Prediction
from pipeline.writers.predictions import Cell, PredictionWriter, columns, rows


class Config(Part):
    """The CSV writer has no settings."""

    kind: Literal["csv"] = "csv"

    def build(self) -> PredictionWriter:
        """Make the writer."""
        return CsvWriter()


class CsvWriter:
    """Implements :class:`pipeline.writers.predictions.PredictionWriter`; no cell is a formula."""

    suffix = ".csv"

    def write(self, path: Path, predictions: Sequence[Prediction], findings: Sequence[Finding]) -> None:
        """See :meth:`pipeline.writers.predictions.PredictionWriter.write`."""
        table = text_rows(predictions, findings)
        atomic.write_bytes(path, table_bytes(csv_text(columns(findings), table)))


def text_rows(predictions: Sequence[Prediction], findings: Sequence[Finding]) -> Iterator[list[str]]:
    """Cells of :func:`pipeline.writers.predictions.rows` as text."""
    return ([_text(cell) for cell in row] for row in rows(predictions, findings))


def _text(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.6f}"
    return cell or ""
