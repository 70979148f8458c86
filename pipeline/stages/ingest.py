"""``resdx ingest``: from a folder of scans and a label file to a manifest, and a reason for whatever is not in it."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from pydantic import Field

from pipeline.cohort.accounting import Account, RefusedSeries, account
from pipeline.cohort.case_building import CaseBuilder
from pipeline.cohort.channels import unstackable
from pipeline.cohort.cross_check import Checking, CrossCheckSettings
from pipeline.cohort.cross_check import lines as check_lines
from pipeline.cohort.deidentified.settings import CopySettings
from pipeline.cohort.describe import SeriesSummary, describe, digests_in
from pipeline.cohort.digests import digested
from pipeline.cohort.extension import OtherNames, settled_by
from pipeline.cohort.label_damage import summary
from pipeline.cohort.label_join import Joined
from pipeline.cohort.label_settings import LabelSettings
from pipeline.cohort.label_sheet import LabelSheet, read_sheet
from pipeline.cohort.leaks import check
from pipeline.cohort.near_ids import near_ids, near_notes, same_persons
from pipeline.cohort.patients import Patients, patient_notes, patients_of
from pipeline.cohort.previews import PreviewSettings
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.rehearsal import rehearse
from pipeline.cohort.splits import SplitSettings, assign_splits
from pipeline.cohort.tables import beside, load_manifest
from pipeline.cohort.units import CaseCandidate, cases_of
from pipeline.domain.case import Case
from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.manifest import Manifest
from pipeline.domain.score import Shortcut
from pipeline.domain.selection import Selection
from pipeline.domain.series import Discovery, Identity, Series, SourceFile
from pipeline.errors import (
    EXIT_OK,
    EXIT_SOME_REJECTED,
    LabelFileError,
    LeakError,
    ManifestError,
    RejectedInput,
    UsageError,
)
from pipeline.evaluation.shortcuts import probe
from pipeline.progress import track
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.walking import check_scans
from pipeline.stages.ingest_copy import Workers, check_copy, make_copy
from pipeline.stages.ingest_tables import ENDINGS, Ingested, closing_lines, reasons, save, save_refusals
from pipeline.stages.outcome import Outcome
from pipeline.stages.stopping import STARTS_AGAIN, stopping_on_sigterm
from pipeline.stages.worker_settings import DiscoverySettings
from pipeline.workers import Outcome as Read
from pipeline.workers import imap

log = logging.getLogger("resdx")


class Config(DiscoverySettings):
    """Settings of ``resdx ingest``."""

    scans: Path = Field(
        description="Folder of scans; nothing is ever written in it. A ZIP archive counts as a folder, here and below."
    )
    out: Path = Field(description="Manifest to write: NAME.csv; its companions stand beside it.")
    labels: LabelSettings = Field(
        default=LabelSettings(), description="The label file; without `file` an inventory of the scans is made."
    )
    modality: str = Field(
        default="", description="Modality of NIfTI files and pictures, where labels.modality_column does not say it."
    )
    select: Selection = Field(
        default=Selection(), description="Which series are wanted, and what a case is; in an inventory, a series."
    )
    dry_run: bool = Field(
        default=False,
        description="Only print what each rule of `select` takes and drops, by the headers, and how many cases result: "
        "no pixel is read and nothing is written.",
    )
    split: SplitSettings = Field(
        default=SplitSettings(), description="How patients are dealt out, where labels.split_column does not say it."
    )
    extend: Path | None = Field(default=None, description="Older manifest whose patients keep their split.")
    acknowledge_leaks: bool = Field(
        default=False,
        description="Go on although a patient, the same pixels, or images so alike that one may be a copy of the "
        "other, stand in two splits; reports carry the count.",
    )
    key_file: Path | None = Field(
        default=None, description="Key of the pseudonyms. Default: $RESDX_KEY_FILE, else ~/.config/resdx/key."
    )
    deidentified_copy: CopySettings = Field(
        default=CopySettings(), description="A copy of the DICOM files of all cases that names no patient."
    )
    read: ReadOptions = Field(default=ReadOptions(), description="How scans are read.")
    cross_check: CrossCheckSettings = Field(
        default=CrossCheckSettings(), description="A second reading of some series by an independent reader."
    )
    previews: PreviewSettings = Field(default=PreviewSettings(), description="Pictures on the page NAME.html.")

    @property
    def options(self) -> ReadOptions:
        """How scans are read, with the modality of those that do not say it."""
        return self.read.model_copy(update={"modality": self.modality or self.read.modality})


@dataclass(frozen=True, slots=True)
class Labelled:
    """Candidates with the position of their row (None in an inventory), their patients, and the series that are out."""

    candidates: tuple[tuple[CaseCandidate, int | None], ...]
    refused: tuple[RefusedSeries, ...]
    joined: Joined | None
    patients: Patients


def run(config: Config) -> Outcome:
    """Make the manifest; exit status 3 if something was rejected, or labels and scans do not cover each other.

    Raises
    ------
    UsageError
        SCANS is no folder, or what would be written stands in it or is the label file.
    LabelFileError
        The label file cannot be understood.
    LeakError
        A patient, or equal or nearly equal pixels, would stand in two splits.
    ManifestError
        No case is left, or the older manifest was made with another key.
    StoppedBySignal
        SIGTERM arrived.
    """
    check_places(config)
    config.cross_check.check()
    with stopping_on_sigterm(STARTS_AGAIN):
        return ingest(config)


def check_places(config: Config) -> None:
    """Refuse to write among the scans, or over the labels.

    Raises
    ------
    UsageError
    """
    check_scans(config.scans)
    if config.out.suffix != ".csv":
        raise UsageError(f"--out {config.out} does not end in .csv.", f"Write --out {config.out}.csv.")
    scans = config.scans.resolve()
    if config.out.resolve().is_relative_to(scans):
        message = f"{config.out} lies in the folder of scans, where nothing is written."
        raise UsageError(message, "Choose another place.")
    written = {beside(config.out, ending).resolve() for ending in ENDINGS}
    if config.labels.file is not None and config.labels.file.resolve() in written:
        raise UsageError(f"{config.labels.file} is the label file and would be overwritten.", "Choose another --out.")


def ingest(config: Config) -> Outcome:
    """Make the manifest; see :func:`run`."""
    if config.dry_run:
        return _rehearse(config)
    pseudonyms = Pseudonyms.open(config.key_file, outside=config.scans)
    pseudonyms.check_map()
    check_copy(config.deidentified_copy, config.scans, (config.out, pseudonyms.key_file))
    sheet = read_sheet(config.labels) if config.labels.file else None
    old = load_manifest(config.extend) if config.extend else None
    index = config.folder_index(pseudonyms)
    found = discover(config.scans, config.options, digests=False, index=index)
    labelled = _labelled(sheet.name_modalities(found) if sheet else found, sheet, config)
    builder = CaseBuilder(pseudonyms, sheet, labelled.patients)
    read = _summaries([one for candidate, _ in labelled.candidates for one in candidate.chosen], config, builder)
    cases, accepted, refused = _cases(labelled, read, builder)
    found = digested(found, digests_in(outcome.value for outcome in read.values()))
    if index:
        index.complete(found, config.options)
    discovery = sheet.name_modalities(found) if sheet else found
    ended = account(discovery, accepted, (*labelled.refused, *refused), pseudonyms.series)
    if not cases:
        _stop_without_cases(config, ended, sheet, labelled.joined)
    pseudonyms.save_map()  # first, so that a leak that is named by pseudonym can be looked up
    who = labelled.patients.of_cases(cases, pseudonyms.patient)
    persons = same_persons(who)
    said = (*patient_notes(labelled.patients, cases, pseudonyms.patient), *near_notes(near_ids(who), persons))
    others = labelled.patients.other_names(pseudonyms.patient)
    try:
        audited = partial(check, thumbnails=builder.thumbnails, persons=persons, slices=builder.slices)
        manifest, notes = _manifest(config, cases, sheet, old, others, audited)
    except (LabelFileError, LeakError) as error:
        table = save_refusals(config.out, ended, labelled.joined)
        told = (*sheet.notes, *said) if sheet else said
        error.message = "\n".join([*told, f"{len(cases)} cases are left; not used: {reasons(ended)}.", error.message])
        error.remedy = f"{error.remedy} Every refusal with its file and reason: {table}"
        raise
    known = (builder.previews, builder.levels, _shortcuts(manifest))
    done = Ingested(manifest, ended, discovery, accepted, sheet, labelled.joined, (*said, *notes), *known)
    builder.thumbnails.save(config.out, [one.series for case in cases for one in case.series])
    save(config.out, done, pseudonyms.series, config.previews.count)
    copied = make_copy(
        config.deidentified_copy, config.out, done, pseudonyms, _workers(config), config.options.max_bytes
    )
    is_complete = not ended.rejections and not done.unlabelled and not done.unscanned and not copied.rejections
    differing = sum(one.code == Code.CROSS_CHECK for one in refused)
    checked = check_lines((one.value.notes for one in read.values() if one.value), differing)
    lines = (*copied.lines, *checked, *closing_lines(config.out, done))
    return Outcome(lines, EXIT_OK if is_complete else EXIT_SOME_REJECTED)


def _shortcuts(manifest: Manifest) -> tuple[Shortcut, ...]:
    try:
        return probe(manifest)
    except Exception as error:
        log.warning("the probe for shortcuts failed and is left out: %s", type(error).__name__, exc_info=error)
        return ()


def _rehearse(config: Config) -> Outcome:
    """Try the rules as with labels, where a case is what `select.unit` says."""
    discovery = discover(config.scans, config.options, digests=False)
    if config.labels.file:
        discovery = read_sheet(config.labels).name_modalities(discovery)
    return Outcome((*rehearse(discovery, config.select), "Dry run: no pixel was read, nothing was written."))


def _labelled(discovery: Discovery, sheet: LabelSheet | None, config: Config) -> Labelled:
    """Find out which candidates have labels, before anything is read."""
    select = config.select if sheet else config.select.model_copy(update={"unit": "series", "channels": ()})
    units = cases_of(discovery, select)
    refused = [RefusedSeries(one.series, one.code, one.message, "select") for one in units.refusals]
    if sheet is None:
        each = tuple((candidate, None) for candidate in units.candidates)
        return Labelled(each, tuple(refused), None, patients_of(units.candidates, None))
    rejected = [one.series for one in units.refusals if one.code not in SKIPS] + _refused_studies(discovery)
    joined = sheet.join(units.candidates, rejected, discovery.root)
    kept = []
    for candidate in units.candidates:
        key = candidate.unit_key
        if key in joined.numbers:
            kept.append((candidate, joined.numbers[key]))
            continue
        code = Code.AMBIGUOUS_LABEL if key in joined.ambiguous else Code.NO_LABEL
        why = joined.passed_over.get(key, "no row of the label file belongs to it")
        message = joined.ambiguous.get(key, why)
        refused += [RefusedSeries(series, code, message, "label") for series in candidate.chosen]
    return Labelled(tuple(kept), tuple(refused), joined, patients_of([one for one, _ in kept], joined))


def _refused_studies(discovery: Discovery) -> list[Series]:
    """Studies whose scans were refused before they became series: a label may mean one of them, not another scan."""
    files: dict[Identity, list[SourceFile]] = defaultdict(list)
    for refusal in discovery.refusals:
        if refusal.code not in SKIPS and refusal.identity.study_uid:
            files[refusal.identity].append(refusal.file)
    return [Series("", who.series_uid, tuple(found), "", identity=who) for who, found in files.items()]


def _cases(
    labelled: Labelled, read: Mapping[str, Read[SeriesSummary]], builder: CaseBuilder
) -> tuple[list[Case], dict[str, str], list[RefusedSeries]]:
    """Make cases of the series that were read; return them, series key to case, and what could not be read."""
    cases: list[Case] = []
    accepted: dict[str, str] = {}
    refused: list[RefusedSeries] = []
    for candidate, number in labelled.candidates:
        outcomes = [read[one.key] for one in candidate.chosen]
        summaries = [outcome.value for outcome in outcomes if outcome.value is not None]
        if len(summaries) < len(outcomes):
            refused += _refused(candidate, [outcome.error for outcome in outcomes])
            continue
        if error := unstackable(candidate.slots, summaries):
            refused += [RefusedSeries.by(series, error) for series in candidate.chosen]
            continue
        case = builder.build(candidate, summaries, number)
        cases.append(case)
        accepted |= {one.key: case.case for one in candidate.chosen}
    return sorted(cases, key=lambda case: case.case), accepted, refused


def _summaries(series: Sequence[Series], config: Config, builder: CaseBuilder) -> dict[str, Read[SeriesSummary]]:
    """Read every chosen series once; the outcomes by their keys, their thumbnails to the builder."""
    outcomes = imap(
        partial(
            describe,
            options=config.options,
            shown=config.previews.share(len(series)),
            checking=Checking(config.cross_check.limit(series), config.seconds_per_case),
        ),
        series,
        **_workers(config),
    )
    each = zip(series, track(outcomes, "read series", len(series)), strict=True)
    return {one.key: builder.without_thumbnail(one, outcome) for one, outcome in each}


def _workers(config: Config) -> Workers:
    return Workers(
        processes=config.worker_count,
        timeout_seconds=config.seconds_per_case,
        memory_bytes=config.memory_bytes,
    )


def _refused(candidate: CaseCandidate, errors: Sequence[RejectedInput | None]) -> Iterator[RefusedSeries]:
    """One series that cannot be read takes its case with it; the others are INCOMPLETE."""
    cause = next(error for error in errors if error is not None)
    message = f"another series of its case is refused: {cause.code}, {cause.message}"
    for series, error in zip(candidate.chosen, errors, strict=True):
        if error is not None:
            yield RefusedSeries.by(series, error)
        else:
            yield RefusedSeries(series, Code.INCOMPLETE, message, cause.stage)


def _manifest(
    config: Config,
    cases: Sequence[Case],
    sheet: LabelSheet | None,
    old: Manifest | None,
    other_names: OtherNames,
    audited: Callable[..., int],
) -> tuple[Manifest, tuple[str, ...]]:
    """Deal the patients to splits and audit the result; return it with what a reader should know."""
    if sheet is None:
        return Manifest(cases=tuple(cases)), ()
    findings = tuple(one.finding for one in sheet.findings)
    kept, notes = settled_by(old, cases, other_names) if old else ({}, ())
    dealt, warnings = assign_splits(cases, findings, config.split, kept)
    leaks = audited(dealt, acknowledged=config.acknowledge_leaks)
    manifest = Manifest(findings=findings, cases=dealt, acknowledged_leaks=leaks, select=config.select)
    return manifest, (*notes, *warnings)


def _stop_without_cases(config: Config, ended: Account, sheet: LabelSheet | None, joined: Joined | None) -> NoReturn:
    """Say why no case is left, by code, and what the label file shows of it."""
    table = save_refusals(config.out, ended, joined)
    if not ended.files:
        raise ManifestError(f"{config.scans} holds no file.", "Is it mounted? Give the folder of the scans.")
    lines = [f"No case is left of the scans: {reasons(ended)}."]
    if sheet and joined:
        lines += summary(sheet.table.name, joined.problems)
    remedy = "`resdx info CODE` explains each code."
    raise ManifestError("\n".join(lines), f"{remedy} Every refusal with its file and reason: {table}")
