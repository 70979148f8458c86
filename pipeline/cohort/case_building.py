"""From a candidate whose series were read to a case: pseudonyms, labels, covariates."""

from collections.abc import Sequence
from dataclasses import replace

from pipeline.cohort.covariates import burned_in, covariates_of, left_out, site_namer
from pipeline.cohort.describe import SeriesSummary
from pipeline.cohort.digests import files_digest
from pipeline.cohort.label_sheet import LabelSheet
from pipeline.cohort.outliers import Levels
from pipeline.cohort.patients import Patients
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.thumbnails import Spool
from pipeline.cohort.units import CaseCandidate
from pipeline.domain.case import Case, CaseSeries
from pipeline.domain.series import Series
from pipeline.readers.stacking import stacking_notes
from pipeline.workers import Outcome


class CaseBuilder:
    """Builds cases, and remembers their identifiers for the map of the pseudonyms.

    Parameters
    ----------
    sheet : LabelSheet or None
        None: an inventory, whose cases have no labels and no split.
    patients : Patients
        Of all cases that will be built.

    Attributes
    ----------
    previews : dict of str to bytes
        Pseudonym of each case built so far that has a preview to the JPEG.
    levels : dict of str to Levels
        Pseudonym of each series of them to its intensities.
    slices : dict of str to bytes
        Pseudonym of each series of them to the digests of its slices.
    thumbnails : Spool
        Thumbnails of the series read so far.
    """

    def __init__(self, pseudonyms: Pseudonyms, sheet: LabelSheet | None, patients: Patients) -> None:
        self._names, self._sheet, self._patients = pseudonyms, sheet, patients
        self.previews: dict[str, bytes] = {}
        self.levels: dict[str, Levels] = {}
        self.slices: dict[str, bytes] = {}
        self.thumbnails = Spool()
        self._site = site_namer(pseudonyms.case, lambda raw: pseudonyms.remember(case=raw))

    def without_thumbnail(self, series: Series, outcome: Outcome[SeriesSummary]) -> Outcome[SeriesSummary]:
        """Put the thumbnail of a series aside, so that not all of them are in memory at a time."""
        if outcome.value is None:
            return outcome
        self.thumbnails.keep(self._names.series(series.key), outcome.value.thumbnail)
        return replace(outcome, value=replace(outcome.value, thumbnail=b""))

    def build(self, candidate: CaseCandidate, summaries: Sequence[SeriesSummary], number: int | None) -> Case:
        """Build one case, not yet in a split that is drawn.

        Parameters
        ----------
        summaries : sequence of SeriesSummary
            One for each of the chosen series.
        number : int or None
            Row of the label sheet.
        """
        sheet = self._sheet if number is not None else None
        row = sheet.table.rows[number] if sheet and number is not None else None
        first = candidate.chosen[0].key
        study = candidate.identity.study_uid or first
        known = self._patients.of.get(candidate.unit_key)
        patient = known.name if known else study
        for one in known.ids if known else (patient,):
            self._names.remember(patient=one)
        self._names.remember(study=study, case=candidate.unit_key)
        for series in candidate.chosen:
            self._names.remember(series=series.key)
        name = self._names.case(candidate.unit_key)
        if image := next((one.preview for one in summaries if one.preview), b""):
            self.previews[name] = image
        return Case(
            case=name,
            patient=self._names.patient(patient),
            study=self._names.study(study),
            series=tuple(self._series(candidate, *pair) for pair in zip(candidate.chosen, summaries, strict=True)),
            labels=sheet.labels(number) if sheet and number is not None else {},
            covariates=covariates_of(candidate, self._site, row, sheet.columns if sheet else None),
            split=sheet.splits[number] if sheet and number is not None else None,
            notes=tuple(
                dict.fromkeys(
                    (
                        *(note for summary in summaries for note in summary.notes),
                        *stacking_notes(tuple(series is not None for series in candidate.slots)),
                        *left_out(candidate),
                        *burned_in(candidate),
                    )
                )
            ),
        )

    def _series(self, candidate: CaseCandidate, series: Series, summary: SeriesSummary) -> CaseSeries:
        name = self._names.series(series.key)
        self.slices[name] = summary.slices
        if summary.levels is not None:
            self.levels[name] = summary.levels
        return CaseSeries(
            series=name,
            reader=series.reader,
            stack=series.stack,
            modality=summary.modality,
            shape=summary.shape,
            spacing=summary.spacing,
            unit=summary.unit,
            plane=summary.plane,
            channels=summary.channels,
            digest=files_digest(replace(file, sha256=summary.digests[str(file.path)]) for file in series.files),
            voxels=summary.voxels,
            likeness=summary.likeness,
            channel=candidate.slots.index(series),
            of=len(candidate.slots),
        )
