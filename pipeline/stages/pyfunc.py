"""MLflow's loader module: opens a model package as a pyfunc model, without pickle.

The model takes a frame with the column ``path`` (scan folders or single files, any mixture of formats) and returns one
row a class of each finding of each case, in the order of the input; a refused scan is one row with ``code`` and
``message``, and so is one that is unlike the training data, with ``scope``. The columns are those of
:data:`pipeline.tracking.registry.OUTPUTS`; what a row does not have is None, so that all but ``row`` are of dtype
object (``frame["probability"].astype(float)`` to compute with). Paths are not repeated in the output, which may be
logged: ``row`` counts the input rows from 0, ``case`` is the pseudonym; see
:meth:`pipeline.stages.loaded_model.LoadedModel.predict` for how the tables of ``resdx predict`` are joined by it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.stages.loaded_model import LoadedModel, ScanAnswer

COLUMNS = ("row", "case", "finding", "class", "probability", "decision", "scope", "code", "message")

Row = dict[str, object]


class ScanModel:
    """What :func:`mlflow.pyfunc.load_model` wraps.

    Parameters
    ----------
    folder : Path
        The package; every digest is verified.

    Raises
    ------
    PackageError
        If the package was changed.
    """

    def __init__(self, folder: Path) -> None:
        self._model = LoadedModel(folder)

    def predict(self, frame: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Predict every scan below the paths of a frame.

        Parameters
        ----------
        frame : DataFrame
            Column ``path``.
        params : mapping, optional
            ``modality``, ``processes`` and ``scans`` of :meth:`pipeline.stages.loaded_model.LoadedModel.predict`.
        """
        given = dict(params or {})
        answers = self._model.numbered(
            map(str, frame["path"]),
            modality=str(given.get("modality", "")),
            processes=int(given.get("processes", 0)),
            scans=str(given.get("scans", "")) or None,
        )
        return _table([{"row": number} | row for number, answer in answers for row in _rows(answer)])


def _table(rows: list[Row]) -> pd.DataFrame:
    """Make a frame in which what is absent is None: NaN would be served as NaN, which is no JSON."""
    table = pd.DataFrame([[row.get(name) for name in COLUMNS] for row in rows], columns=list(COLUMNS), dtype=object)
    return table.astype({"row": "int64"})


def _rows(answer: ScanAnswer) -> Iterator[Row]:
    case = answer.case or None
    said = answer.prediction
    if said is None:
        yield {"case": case, "code": str(answer.code), "message": answer.message}
        return
    if not said.findings:
        yield {"case": case, "scope": said.scope.value, "message": "; ".join(said.scope_reasons)}
    for finding in said.findings:
        for name, chance in finding.probabilities.items():
            yield {
                "case": case,
                "finding": finding.finding,
                "class": name,
                "probability": chance,
                "decision": finding.decision,
                "scope": said.scope.value,
            }


def _load_pyfunc(data_path: str) -> ScanModel:
    """Open the package; MLflow calls this."""
    return ScanModel(Path(data_path))
