"""Parquet: the columns of the CSV with their types and in full precision, for data frames."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline import atomic
from pipeline.config import Part
from pipeline.domain.finding import Finding
from pipeline.domain.prediction import Prediction
from pipeline.writers.predictions import LEADING, TRAILING, PredictionWriter, columns, rows


class Config(Part):
    """The Parquet writer has no settings."""

    kind: Literal["parquet"] = "parquet"

    def build(self) -> PredictionWriter:
        """Make the writer."""
        return ParquetWriter()


class ParquetWriter:
    """Implements :class:`pipeline.writers.predictions.PredictionWriter` with PyArrow."""

    suffix = ".parquet"

    def write(self, path: Path, predictions: Sequence[Prediction], findings: Sequence[Finding]) -> None:
        """See :meth:`pipeline.writers.predictions.PredictionWriter.write`."""
        import pyarrow
        from pyarrow import parquet

        names = columns(findings)
        text = {*LEADING, *TRAILING, *(finding.columns[0] for finding in findings)}
        fields = [(name, pyarrow.string() if name in text else pyarrow.float64()) for name in names]
        table = pyarrow.Table.from_pylist(
            [dict(zip(names, row, strict=True)) for row in rows(predictions, findings)], pyarrow.schema(fields)
        )

        def write(temporary: Path) -> None:
            with temporary.open("wb") as stream:  # PyArrow takes a path for a URI, which some names of files are not
                parquet.write_table(table, stream)

        atomic.write_with(path, write)
