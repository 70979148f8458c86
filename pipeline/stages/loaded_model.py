"""A model for Python: ``pipeline.load(MODEL).predict(paths)``, the same way that ``resdx predict`` goes."""

import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.prediction import Prediction
from pipeline.domain.selection import Selection
from pipeline.engines.settings import EngineSettings
from pipeline.engines.torch import Config as TorchConfig
from pipeline.package.package import ModelPackage, load_package
from pipeline.preprocessing.scans import prepare_series
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.stages.predict_answer import Job, Limits, Predictor
from pipeline.stages.predict_requests import Request, name_case
from pipeline.stages.predict_units import cases_to_ask
from pipeline.workers import SECONDS_PER_CASE, imap

ScanPath = str | Path


@dataclass(frozen=True, slots=True)
class ScanAnswer:
    """What became of one case, or of one file or series that became none.

    Attributes
    ----------
    path : Path
        What was asked: the path as it was given.
    case : str
        Pseudonym; empty where no case was found.
    prediction : Prediction or None
        None where the scan is refused.
    code, message : str
        Why it is refused; empty where it is not. ``resdx info CODE`` explains a code.
    """

    path: Path
    case: str = ""
    prediction: Prediction | None = None
    code: str = ""
    message: str = ""


class LoadedModel:
    """A package whose digests are verified, with its engine.

    Parameters
    ----------
    folder : Path
    engine : EngineSettings, optional
        What runs the network, a ``Config`` of :mod:`pipeline.engines`; by default torch in float32.
    key_file : Path, optional
        Key of the pseudonyms; see :meth:`pipeline.cohort.pseudonyms.Pseudonyms.open`.

    Raises
    ------
    PackageError
        The package was changed.
    """

    def __init__(self, folder: Path, engine: EngineSettings | None = None, key_file: Path | None = None) -> None:
        self.package: ModelPackage = load_package(folder)
        limits = Limits(0, SECONDS_PER_CASE, None)
        self._job = Job(folder, engine or TorchConfig(), ReadOptions(), limits)
        self._predictor = Predictor.of(self.package, self._job)
        self._pseudonyms = Pseudonyms.open(key_file)

    def predict(
        self, paths: ScanPath | Iterable[ScanPath], *, modality: str = "", processes: int = 0
    ) -> list[ScanAnswer]:
        """Predict every scan below some paths.

        Parameters
        ----------
        paths : path or iterable of paths
            Scan folders or single files, any mixture of formats.
        modality : str
            Of NIfTI files and pictures, which do not say it.
        processes : int
            0 reads in this process; 1 and more decode in worker processes, where a hanging or crashing codec costs one
            scan.

        Returns
        -------
        list of ScanAnswer
            In the order of the paths; one a case, and one for each refused file or series.
        """
        several = [paths] if isinstance(paths, str | Path) else paths
        options = self._job.options.model_copy(update={"modality": modality})
        return [answer for path in several for answer in self._path(Path(path), options, processes)]

    def _path(self, path: Path, options: ReadOptions, processes: int) -> Iterator[ScanAnswer]:
        if not path.exists():
            yield ScanAnswer(path, code=Code.UNREADABLE, message="there is no such file or folder")
            return
        with _as_folder(path) as folder:
            discovery = discover(folder, options)
            plan = self.package.plan
            asked = cases_to_ask(discovery, plan.select or Selection(), plan.modality)
            said = [(one.code, one.message) for one in discovery.refusals]
            said += [(one.code, one.message) for one in asked.refused]
            refused = [ScanAnswer(path, code=code, message=message) for code, message in said if code not in SKIPS]
            yield from refused
            requests = [name_case(candidate, self._pseudonyms, {}) for candidate in asked.candidates]
            if not requests and not refused:
                yield ScanAnswer(path, code=Code.NOT_AN_IMAGE, message="no image was found")
            yield from self._cases(path, requests, options, processes)

    def _cases(self, path: Path, requests: list[Request], options: ReadOptions, processes: int) -> Iterator[ScanAnswer]:
        read = imap(
            partial(prepare_series, plan=self.package.plan, options=options),
            [request.slots for request in requests],
            processes=processes,
            timeout_seconds=SECONDS_PER_CASE,
        )
        for request, scan in zip(requests, read, strict=True):
            outcome = self._predictor(request, scan).outcome
            if outcome.refusal is not None:
                yield ScanAnswer(path, request.case, code=outcome.refusal.code, message=outcome.refusal.message)
            else:
                yield ScanAnswer(path, request.case, outcome.prediction)


@contextmanager
def _as_folder(path: Path) -> Iterator[Path]:
    """Yield the scan folder; a single file is copied into one of its own, so that its neighbours stay out of it."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="resdx-scan-") as folder:
        shutil.copy2(path, folder)
        yield Path(folder)
