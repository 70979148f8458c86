"""Which cases of a scan folder a model is asked about, and why it is not asked about the others."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.cohort.accounting import RefusedSeries
from pipeline.cohort.units import CaseCandidate, Units, cases_of
from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.selection import Selection
from pipeline.domain.series import Discovery, Series
from pipeline.domain.terms import known_modality
from pipeline.errors import UsageError


@dataclass(frozen=True, slots=True)
class Asked:
    """The cases to predict, and every series that is in none of them."""

    candidates: tuple[CaseCandidate, ...]
    refused: tuple[RefusedSeries, ...]


def cases_to_ask(discovery: Discovery, selection: Selection, modality: str) -> Asked:
    """Choose the series that a model for one modality can be asked about.

    In a study with a series that fits, the others are skipped. A study with none is refused DOES_NOT_FIT, so that no
    patient is missing without a word. A series whose modality nobody told is refused: the model's is never assumed.

    Raises
    ------
    UsageError
        If `selection` leaves out the modality that the model needs.
    """
    nameless = tuple(series for series in discovery.series if not series.modality)
    named = tuple(series for series in discovery.series if series.modality)
    units = cases_of(replace(discovery, series=named), _narrowed(selection, modality))
    refused = (*_nameless(nameless), *_explained(units, named, modality))
    return Asked(units.candidates, refused)


def _narrowed(selection: Selection, modality: str) -> Selection:
    if selection.modality and modality not in selection.modality:
        raise UsageError(
            f"select.modality is {', '.join(selection.modality)}, and the model was trained on {modality}.",
            "Leave select.modality out: it follows from the model.",
        )
    return selection.model_copy(update={"modality": (modality,)})


def _nameless(series: Sequence[Series]) -> Iterator[RefusedSeries]:
    message = "the file does not say its modality"
    for one in series:
        yield RefusedSeries(one, Code.NO_MODALITY, message, "select", remedy="Give `--modality`: CT, MR, ...")


def _explained(units: Units, series: Sequence[Series], modality: str) -> Iterator[RefusedSeries]:
    """Take over the refusals; where they leave a study without a case and without a reason, that is the reason."""
    spoken = {_study(one) for candidate in units.candidates for one in candidate.chosen}
    spoken |= {_study(refusal.series) for refusal in units.refusals if refusal.code not in SKIPS}
    studies: dict[str, set[str]] = defaultdict(set)
    for one in series:
        studies[_study(one)].add(one.modality)
    for refusal in units.refusals:
        code, message = refusal.code, refusal.message
        if code is Code.NOT_SELECTED and _study(refusal.series) not in spoken:
            code = Code.DOES_NOT_FIT
            message = _why(studies[_study(refusal.series)], modality)
        yield RefusedSeries(refusal.series, code, message, "select")


def _why(found: Collection[str], modality: str) -> str:
    if modality in found:
        return "no series of this study passes `select`"
    return f"the model needs {modality}, this study has {', '.join(sorted(filter(known_modality, found)))} only"


def _study(series: Series) -> str:
    """Name what the series of a visit share; a file without identity is a visit of its own."""
    return series.identity.study_uid or series.key
