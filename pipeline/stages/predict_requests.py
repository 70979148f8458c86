"""The cases of a prediction: what each is called, and what its outcome depends on."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.cohort.digests import files_digest
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.codes import Code
from pipeline.domain.frozen import digest
from pipeline.domain.series import Series, SourceFile
from pipeline.errors import RejectedInput
from pipeline.ledger import CaseRefusal
from pipeline.readers.neighbours import series_notes

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

    @property
    def files(self) -> Iterator[SourceFile]:
        """Every file that it rests on."""
        return (file for series in self.series for file in series.files)


def requests_for(
    candidates: Iterable[CaseCandidate], pseudonyms: Pseudonyms, depends_on: Mapping[str, object]
) -> tuple[Request, ...]:
    """Name the cases, in the order of their pseudonyms, and keep the way back in the map beside the key.

    Parameters
    ----------
    depends_on : mapping
        What every outcome depends on beside the scan: the model, the engine, the options, the version.
    """
    requests = []
    for one in candidates:
        patient, study = _patient_and_study(one)
        pseudonyms.remember(patient=patient, study=study, case=one.unit_key)
        for series in one.chosen:
            pseudonyms.remember(series=series.key)
        requests.append(name_case(one, pseudonyms, depends_on))
    requests.sort(key=lambda one: one.case)
    assert len({one.case for one in requests}) == len(requests), "two cases have one name"
    pseudonyms.save_map()
    return tuple(requests)


def name_case(candidate: CaseCandidate, pseudonyms: Pseudonyms, depends_on: Mapping[str, object]) -> Request:
    """Name one case, and remember nothing of it; see :func:`requests_for`."""
    first = candidate.chosen[0]
    patient, study = _patient_and_study(candidate)
    case = pseudonyms.case(candidate.unit_key)
    pixels = files_digest(first.files)
    scan: dict[str, object] = {"case": case, "pixels": pixels, "reader": first.reader}
    scan |= {"stack": first.stack, "modality": first.modality}
    if len(candidate.slots) > 1:
        slots = [None if one is None else [files_digest(one.files), one.stack] for one in candidate.slots]
        pixels, scan["channels"] = digest(slots), slots
    if told := {pseudonyms.series(one.key): notes for one in candidate.chosen if (notes := series_notes(one))}:
        scan["notes"] = told  # a file beside it that is mended, or no longer lies there, makes another answer
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


def _patient_and_study(candidate: CaseCandidate) -> tuple[str, str]:
    """Raw identifiers; a scan that says none is a study and a patient of its own."""
    study = candidate.identity.study_uid or candidate.chosen[0].key
    return candidate.identity.patient_id or study, study


def refusal_of_case(request: Request, error: RejectedInput) -> CaseRefusal:
    """Keep a refusal without the path of the guilty file, which its sha256 finds again."""
    guilty = [file.sha256 for file in request.files if str(file.path) == error.path]
    return CaseRefusal(
        code=Code(error.code),
        stage=error.stage,
        message=error.message,
        remedy=error.remedy,
        sha256=guilty[0] if guilty else "",
    )


def guilty_path(request: Request, refusal: CaseRefusal) -> str:
    """Path of the file with the sha256 of a refusal, or an empty string."""
    found: list[Path] = [file.path for file in request.files if file.sha256 == refusal.sha256]
    return str(found[0]) if found and refusal.sha256 else ""
