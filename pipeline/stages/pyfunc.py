"""MLflow's loader module: opens a model package as a pyfunc model, without pickle.

The model takes a frame with the column ``path`` (scan folders or single files, any mixture of formats) and returns one
row a class of each finding of each case, in the order of the input; a refused scan is one row with ``code`` and
``message``. The columns are those of :data:`pipeline.tracking.registry.OUTPUTS`. Paths are not repeated in the output,
which may be logged: ``row`` counts the input rows from 0, ``case`` is the pseudonym.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.selection import Selection
from pipeline.domain.volume import Volume
from pipeline.engines.inference import predict_volume
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import RejectedInput
from pipeline.package.package import load_package
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.stacking import read_slots
from pipeline.stages.predict_units import cases_to_ask
from pipeline.workers import imap

COLUMNS = ("row", "case", "finding", "class", "probability", "decision", "code", "message")

TIMEOUT_SECONDS = 300.0
"""Longest that the reading of one scan may take where ``processes`` is not 0."""

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
        self._package = load_package(folder)
        self._engine = TorchConfig().build(self._package)
        self._pseudonyms = Pseudonyms.open(None)

    def predict(self, frame: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Predict every scan below the paths of a frame.

        Parameters
        ----------
        frame : DataFrame
            Column ``path``.
        params : mapping, optional
            ``modality``: of NIfTI files and pictures, which do not say it. ``processes``: 0 reads in this process; 1
            and more decode in worker processes, where a hanging or crashing codec costs one scan.
        """
        given = dict(params or {})
        options = ReadOptions(modality=str(given.get("modality", "")))
        processes = int(given.get("processes", 0))
        rows = [
            {"row": number} | row
            for number, path in enumerate(frame["path"])
            for row in self._path(Path(str(path)), options, processes)
        ]
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def _path(self, path: Path, options: ReadOptions, processes: int) -> Iterator[Row]:
        if not path.exists():
            yield _refusal("", Code.UNREADABLE, "there is no such file or folder")
            return
        with _as_folder(path) as folder:
            discovery = discover(folder, options)
            refused = [refusal for refusal in discovery.refusals if refusal.code not in SKIPS]
            yield from (_refusal("", refusal.code, refusal.message) for refusal in refused)
            plan = self._package.plan
            asked = cases_to_ask(discovery, plan.select or Selection(), plan.modality)
            candidates = asked.candidates
            left_out = [refusal for refusal in asked.refused if refusal.code not in SKIPS]
            yield from (_refusal("", refusal.code, refusal.message) for refusal in left_out)
            if not candidates and not refused and not left_out:
                yield _refusal("", Code.NOT_AN_IMAGE, "no image was found")
            slots = [candidate.slots for candidate in candidates]
            reading = partial(read_slots, options=options)
            volumes = imap(reading, slots, processes=processes, timeout_seconds=TIMEOUT_SECONDS, memory_bytes=None)
            for candidate, outcome in zip(candidates, volumes, strict=True):
                yield from self._case(candidate, outcome.value, outcome.error)

    def _case(self, candidate: CaseCandidate, volume: Volume | None, error: RejectedInput | None) -> list[Row]:
        case = self._pseudonyms.case(candidate.unit_key)
        if volume is None:
            assert error is not None
            return [_refusal(case, error.code, error.message)]
        try:
            findings = predict_volume(volume, self._package, self._engine)
        except RejectedInput as refused:
            return [_refusal(case, refused.code, refused.message)]
        return [
            {"case": case, "finding": said.finding, "class": name, "probability": chance, "decision": said.decision}
            for said in findings
            for name, chance in said.probabilities.items()
        ]


def _load_pyfunc(data_path: str) -> ScanModel:
    """Open the package; MLflow calls this."""
    return ScanModel(Path(data_path))


def _refusal(case: str, code: str, message: str) -> Row:
    return {"case": case or None, "code": str(code), "message": message}


@contextmanager
def _as_folder(path: Path) -> Iterator[Path]:
    """Yield the scan folder; a single file is copied into one of its own, so that its neighbours stay out of it."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="resdx-scan-") as folder:
        shutil.copy2(path, folder)
        yield Path(folder)
