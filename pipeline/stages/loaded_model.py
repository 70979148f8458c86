"""A model for Python: ``pipeline.load(MODEL).predict(paths)``, the same way that ``resdx predict`` goes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.prediction import Prediction
from pipeline.domain.selection import Selection
from pipeline.engines.settings import EngineSettings
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import UsageError
from pipeline.package.package import ModelPackage, load_package
from pipeline.preprocessing.scans import PreparedScan, prepare_series
from pipeline.readers.archive import is_archive
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.stages.predict_answer import Job, Limits, Predictor
from pipeline.stages.predict_requests import Request, name_case
from pipeline.stages.predict_units import cases_to_ask
from pipeline.workers import SECONDS_PER_CASE, imap
from pipeline.workers import Outcome as Read

ScanPath = str | Path


@dataclass(frozen=True, slots=True)
class ScanAnswer:
    """What became of one case, or of one file or series that became none.

    Attributes
    ----------
    path : Path
        What was asked: the path as it was given.
    case : str
        Pseudonym, by which tables of ``resdx predict`` are joined under the same key; empty where no case was found.
        See :meth:`LoadedModel.predict` for what it is made of.
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


@dataclass(frozen=True, slots=True)
class _Found:
    """What lies at a path: the cases, and what was refused (code and message) before it became one."""

    path: Path
    requests: Sequence[Request] = ()
    refused: Sequence[tuple[Code, str]] = ()


class LoadedModel:
    """A package whose digests are verified, with its engine.

    It writes nothing, the map of the pseudonyms neither: who is who is known to the caller, who has the paths.

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
        self._job = Job(folder, (engine or TorchConfig()).resolve(self.package), ReadOptions(), limits)
        self._predictor = Predictor.of(self.package, self._job)
        self._pseudonyms = Pseudonyms.open(key_file)

    def predict(
        self,
        paths: ScanPath | Iterable[ScanPath],
        *,
        modality: str = "",
        processes: int = 0,
        scans: ScanPath | None = None,
    ) -> list[ScanAnswer]:
        """Predict every scan below some paths.

        A DICOM case is named by its study, wherever it lies. A NIfTI file or picture names nobody: it is called by its
        path, below `scans` where that is given, as ``resdx predict MODEL SCANS`` calls it; else below the folder (or
        archive) that was asked for; and a single file by its absolute path.

        Parameters
        ----------
        paths : path or iterable of paths
            Scan folders or single files, any mixture of formats.
        modality : str
            Of NIfTI files and pictures, which do not say it.
        processes : int
            0 reads in this process; 1 and more decode in worker processes, where a hanging or crashing codec costs one
            scan.
        scans : path, optional
            The folder in which all of `paths` lie: cases are then named as by the command over it.

        Returns
        -------
        list of ScanAnswer
            In the order of the paths; one a case, and one for each refused file or series.

        Raises
        ------
        UsageError
            A path does not lie in `scans`; or two files would have one name, as those of one name in two folders.
        """
        several = [paths] if isinstance(paths, str | Path) else paths
        return [answer for _, answer in self.numbered(several, modality=modality, processes=processes, scans=scans)]

    def numbered(
        self,
        paths: Iterable[ScanPath],
        *,
        modality: str = "",
        processes: int = 0,
        scans: ScanPath | None = None,
    ) -> Iterator[tuple[int, ScanAnswer]]:
        """Yield each answer after the number of its path, from 0; see :meth:`predict`."""
        options = self._job.options.model_copy(update={"modality": modality})
        root = None if scans is None else Path(scans)
        found = [self._find(Path(path), options, root) for path in paths]
        _check_names(found)
        read = imap(
            partial(prepare_series, plan=self.package.plan, options=options),
            [request.slots for one in found for request in one.requests],
            processes=processes,
            timeout_seconds=SECONDS_PER_CASE,
        )
        with closing(read):
            for number, one in enumerate(found):
                yield from ((number, ScanAnswer(one.path, code=code, message=text)) for code, text in one.refused)
                yield from ((number, self._answer(one.path, request, next(read))) for request in one.requests)

    def _find(self, path: Path, options: ReadOptions, scans: Path | None) -> _Found:
        if not path.exists():
            return _Found(path, refused=[(Code.UNREADABLE, "there is no such file or folder")])
        if scans is None and (path.is_dir() or is_archive(path)):
            discovery = discover(path, options)
        else:
            discovery = discover(scans or Path(path.absolute().anchor), options, only=path)
        plan = self.package.plan
        asked = cases_to_ask(discovery, plan.select or Selection(), plan.modality)
        said = [(one.code, one.message) for one in discovery.refusals]
        said += [(one.code, one.message) for one in asked.refused]
        refused = [(code, message) for code, message in said if code not in SKIPS]
        requests = [name_case(candidate, self._pseudonyms, {}) for candidate in asked.candidates]
        if not requests and not refused:
            refused = [(Code.NOT_AN_IMAGE, "no image was found")]
        return _Found(path, requests, refused)

    def _answer(self, path: Path, request: Request, read: Read[PreparedScan]) -> ScanAnswer:
        outcome = self._predictor(request, read).outcome
        if outcome.refusal is not None:
            return ScanAnswer(path, request.case, code=outcome.refusal.code, message=outcome.refusal.message)
        return ScanAnswer(path, request.case, outcome.prediction)


def _check_names(found: Sequence[_Found]) -> None:
    """Refuse to give two files that name nobody one name; a study may well lie in several folders."""
    named: dict[str, tuple[int, Path]] = {}
    for number, one in enumerate(found):
        for request in one.requests:
            if request.series[0].identity.study_uid:
                continue
            file = request.series[0].files[0].path
            other, before = named.setdefault(request.case, (number, file))
            if file != before:
                raise UsageError(
                    f"Two scans have one name, each in the folder that was asked for: in paths {other} and {number} "
                    "(counted from 0).",
                    "Give `scans`, a folder in which all paths lie.",
                )
