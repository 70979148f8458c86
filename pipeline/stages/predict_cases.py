"""The cases of a prediction: what each is called, what its outcome depends on, and how it comes about."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.cohort.digests import files_digest
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.codes import Code
from pipeline.domain.frozen import digest
from pipeline.domain.prediction import Prediction
from pipeline.domain.series import Series, SourceFile
from pipeline.engines.engine import Engine
from pipeline.engines.inference import predict_prepared
from pipeline.errors import RejectedInput
from pipeline.ledger import CaseOutcome, CaseRefusal, Ledger
from pipeline.package.package import ModelPackage
from pipeline.preprocessing.scans import PreparedScan, prepare_series
from pipeline.progress import track
from pipeline.readers.options import ReadOptions
from pipeline.workers import Outcome, imap

PASSING = frozenset({Code.TIMEOUT, Code.UNREADABLE, Code.CODEC_CRASH, Code.CHANGED, Code.TOO_LARGE, Code.INTERNAL})
"""Refusals that the same scan may not meet another time: on a calmer machine, with other limits, by who debugs."""

LIMITS = {"modality", "max_bytes"}
"""Read options that a key leaves out: the series carries its modality, and what is TOO_LARGE is tried again anyhow."""


@dataclass(frozen=True, slots=True)
class Request:
    """One case to be predicted.

    Attributes
    ----------
    series : tuple of Series
        What it rests on.
    slots : tuple of Series or None
        What is read: its one series, or what fills each of its channels.
    case, patient, study, name : str
        Pseudonyms; ``name`` is that of the first series.
    digest : str
        sha256 over the sorted sha256 of the files; of several series, over those of each and their channels.
    key : str
        Of the ledger: a digest over all that the outcome depends on.
    """

    series: tuple[Series, ...]
    slots: tuple[Series | None, ...]
    case: str
    patient: str
    study: str
    name: str
    digest: str
    key: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker process may take; see :func:`pipeline.workers.imap`."""

    processes: int
    seconds: float
    memory_bytes: int | None


def requests_for(
    candidates: Iterable[CaseCandidate], pseudonyms: Pseudonyms, depends_on: Mapping[str, object]
) -> tuple[Request, ...]:
    """Name the cases, in the order of their pseudonyms, and keep the way back in the map beside the key.

    Parameters
    ----------
    depends_on : mapping
        What every outcome depends on beside the scan: the model, the engine, the options, the version.
    """
    requests = sorted((_request(one, pseudonyms, depends_on) for one in candidates), key=lambda one: one.case)
    assert len({one.case for one in requests}) == len(requests), "two cases have one name"
    pseudonyms.save_map()
    return tuple(requests)


def _request(candidate: CaseCandidate, pseudonyms: Pseudonyms, depends_on: Mapping[str, object]) -> Request:
    first = candidate.chosen[0]
    study = candidate.identity.study_uid or first.key
    patient = candidate.identity.patient_id or study
    pseudonyms.remember(patient=patient, study=study, case=candidate.unit_key)
    for series in candidate.chosen:
        pseudonyms.remember(series=series.key)
    case = pseudonyms.case(candidate.unit_key)
    pixels = files_digest(first.files)
    scan: dict[str, object] = {"case": case, "pixels": pixels, "reader": first.reader}
    scan |= {"stack": first.stack, "modality": first.modality}
    if len(candidate.slots) > 1:
        slots = [None if one is None else [files_digest(one.files), one.stack] for one in candidate.slots]
        pixels, scan["channels"] = digest(slots), slots
    return Request(
        series=candidate.chosen,
        slots=candidate.slots,
        case=case,
        patient=pseudonyms.patient(patient),
        study=pseudonyms.study(study),
        name=pseudonyms.series(first.key),
        digest=pixels,
        key=digest({**depends_on, **scan}),
    )


def outstanding(requests: Iterable[Request], ledger: Ledger, *, retry: bool) -> tuple[Request, ...]:
    """Cases that have no outcome yet, or a refusal that is worth another try (with `retry`: any refusal)."""
    return tuple(one for one in requests if _is_open(ledger.find(one.key), retry))


def _is_open(outcome: CaseOutcome | None, retry: bool) -> bool:
    if outcome is None:
        return True
    return outcome.refusal is not None and (retry or outcome.refusal.code in PASSING)


def predict_cases(
    requests: Sequence[Request],
    package: ModelPackage,
    engine: Engine,
    ledger: Ledger,
    options: ReadOptions,
    limits: Limits,
) -> None:
    """Read and prepare in worker processes, run the network here, and commit case by case.

    The network runs one image at a time, so that no outcome depends on which cases came before or beside it.
    """
    prepared = imap(
        partial(prepare_series, plan=package.plan, options=options),
        [request.slots for request in requests],
        processes=limits.processes,
        timeout_seconds=limits.seconds,
        memory_bytes=limits.memory_bytes,
    )
    with closing(prepared):
        for request, scan in zip(requests, track(prepared, "predict cases", len(requests)), strict=True):
            ledger.commit(request.key, request.case, answer(request, scan, package, engine))


def answer(request: Request, scan: Outcome[PreparedScan], package: ModelPackage, engine: Engine) -> CaseOutcome:
    """Predict one prepared case, or keep why it is refused."""
    try:
        if scan.error is not None:
            raise scan.error
        assert scan.value is not None
        findings = predict_prepared(scan.value.image, package, engine)
    except RejectedInput as error:
        return CaseOutcome(refusal=_refusal(request, error))
    return CaseOutcome(
        prediction=Prediction(
            case=request.case,
            patient=request.patient,
            study=request.study,
            series=request.name,
            digest=request.digest,
            model=package.digest,
            findings=findings,
            notes=scan.value.notes,
        )
    )


def _refusal(request: Request, error: RejectedInput) -> CaseRefusal:
    """Keep a refusal without the path of the guilty file, which its sha256 finds again."""
    guilty = [file.sha256 for file in _files(request) if str(file.path) == error.path]
    return CaseRefusal(
        code=Code(error.code),
        stage=error.stage,
        message=error.message,
        remedy=error.remedy,
        sha256=guilty[0] if guilty else "",
    )


def guilty_path(request: Request, refusal: CaseRefusal) -> str:
    """Path of the file with the sha256 of a refusal, or an empty string."""
    found: list[Path] = [file.path for file in _files(request) if file.sha256 == refusal.sha256]
    return str(found[0]) if found and refusal.sha256 else ""


def _files(request: Request) -> Iterator[SourceFile]:
    return (file for series in request.series for file in series.files)
