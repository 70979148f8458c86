"""``resdx convert``: every accepted series as NIfTI and JSON, which is what the pipeline sees of it."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import Field

from pipeline import __version__, atomic
from pipeline.cohort.accounting import (
    Account,
    RefusedSeries,
    account,
    files_by_code,
    files_text,
    refusal_lines,
    rejections_text,
)
from pipeline.cohort.digests import files_digest
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.domain.cells import table_bytes
from pipeline.domain.codes import Code
from pipeline.domain.frozen import digest
from pipeline.domain.series import Discovery, Series
from pipeline.domain.terms import known_modality
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, RejectedInput, ScansGone, UsageError
from pipeline.progress import track
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read
from pipeline.stages.outcome import Outcome
from pipeline.stages.stopping import stopping_on_sigterm
from pipeline.stages.worker_settings import DiscoverySettings
from pipeline.workers import imap
from pipeline.writers.nifti import Config as NiftiConfig
from pipeline.writers.volumes import Fact

REJECTIONS, FILES, SUMMARY = "rejections.csv", "files.csv", "summary.json"
LEFT_BEHIND = ".tmp-*"
"""What a worker that was killed leaves of a file that it was writing."""

IMAGE, SIDECAR = ".nii.gz", ".json"
CONVERTED = re.compile(rf"(S[0-9a-f]{{16}})({re.escape(IMAGE)}|{re.escape(SIDECAR)})")
"""Name of a file that this command wrote."""

GOES_ON = "Each series that is converted stays; the same command converts the others."

INTENSITY = {"CT": "Hounsfield units"}
"""What a voxel value means, by modality, where that is one thing on every scanner."""


class Config(DiscoverySettings):
    """Settings of ``resdx convert``."""

    scans: Path = Field(
        description="Folder of scans; nothing is ever written in it. A ZIP archive counts as a folder, here and below."
    )
    out: Path = Field(
        description="Folder for SERIES.nii.gz and SERIES.json (named by pseudonym), files.csv, rejections.csv and "
        "summary.json. A volume whose series has gone from SCANS is removed from it; other scans need another folder."
    )
    modality: str = Field(
        default="",
        description="Modality of NIfTI files and pictures, which do not say it; without it they are refused.",
    )
    key_file: Path | None = Field(
        default=None, description="Key of the pseudonyms. Default: $RESDX_KEY_FILE, else ~/.config/resdx/key."
    )
    nifti: NiftiConfig = Field(default=NiftiConfig(), description="How volumes are written.")
    read: ReadOptions = Field(default=ReadOptions(), description="How scans are read.")

    @property
    def options(self) -> ReadOptions:
        """How scans are read, with the modality of this command where it is given."""
        return self.read.model_copy(update={"modality": self.modality}) if self.modality else self.read


@dataclass(frozen=True, slots=True)
class _Job:
    """One series, the pseudonym that its files are named by, and all that its volume depends on."""

    series: Series
    name: str
    made_with: Mapping[str, Fact]


def run(config: Config) -> Outcome:
    """Convert every series below a folder.

    Raises
    ------
    UsageError
        The folder of scans does not exist, the output or the key would lie in it, or the output holds volumes of
        other scans alone.
    ScansGone
        The folder is empty and was not before: it is not mounted, say. The volumes stay.
    """
    if config.out.resolve().is_relative_to(config.scans.resolve()):
        raise UsageError(f"{config.out} lies in the folder of scans.", "Give a folder outside of it.")
    with stopping_on_sigterm(GOES_ON):
        pseudonyms = Pseudonyms.open(config.key_file, outside=config.scans)
        pseudonyms.check_map()
        index = config.folder_index(pseudonyms)
        discovery = discover(config.scans, config.options, index=index)
        _check_kin(discovery, config.out, pseudonyms)
        jobs = [_job(series, pseudonyms.series(series.key), config) for series in discovery.series]
        todo = [job for job in jobs if not _is_done(job, config.out)]
        config.out.mkdir(parents=True, exist_ok=True)
        try:
            refused = list(_convert_all(todo, config))
        finally:
            _tidy(config.out)
        ended = _settle(discovery, jobs, refused, config, pseudonyms)
    lines = _closing_lines(config, ended, kept=len(jobs) - len(todo))
    return Outcome(tuple(lines), EXIT_SOME_REJECTED if ended.rejections else EXIT_OK)


def _check_kin(discovery: Discovery, out: Path, pseudonyms: Pseudonyms) -> None:
    """Refuse to remove volumes of scans that this folder, which may not be mounted, shows nothing of."""
    converted = {found[1] for path in out.glob(f"*{IMAGE}") if (found := CONVERTED.fullmatch(path.name))}
    if converted and discovery.is_bare:
        raise ScansGone(
            f"{discovery.root} holds nothing that can be read, and {len(converted)} volumes stand in {out}.",
            "Is it mounted? The volumes were left as they are; mount it, or give another folder for another one.",
        )
    seen = {name for one in discovery.series for name in (one.key, one.identity.series_uid)}
    seen |= {name for one in discovery.refusals for name in (one.series, one.identity.series_uid, one.file.relative)}
    if converted and converted.isdisjoint(map(pseudonyms.series, seen)):
        raise UsageError(
            f"{len(converted)} volumes stand in {out}, and none is of a series in {discovery.root}.",
            "Give another folder for other scans; this one would lose what it holds.",
        )


def _job(series: Series, name: str, config: Config) -> _Job:
    made_with: dict[str, Fact] = {
        "source_series": name,
        "reader": series.reader,
        "stack": series.stack,
        "files": len(series.files),
        "digest": files_digest(series.files),
        "resdx": __version__,
        "settings": digest({"nifti": config.nifti.model_dump(), "read": config.options.model_dump()}),
    }
    return _Job(series, name, made_with)


def _is_done(job: _Job, out: Path) -> bool:
    """Whether an earlier run has converted the same files in the same way; its JSON is written last."""
    image, sidecar = out / f"{job.name}{IMAGE}", out / f"{job.name}{SIDECAR}"
    try:
        found = json.loads(sidecar.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.items() >= job.made_with.items() and image.is_file()


def _convert_all(jobs: list[_Job], config: Config) -> Iterator[RefusedSeries]:
    processes = config.worker_count
    outcomes = imap(
        partial(_convert, out=config.out, options=config.options, nifti=config.nifti),
        jobs,
        processes=processes,
        timeout_seconds=config.seconds_per_case,
        memory_bytes=config.memory_bytes,
    )
    for outcome in track(outcomes, "convert", len(jobs)):
        if outcome.error is not None:
            yield RefusedSeries.by(jobs[outcome.index].series, outcome.error)


def _convert(job: _Job, out: Path, options: ReadOptions, nifti: NiftiConfig) -> None:
    """Read and write one series; runs in a worker, so that no volume travels between processes."""
    for suffix in (SIDECAR, IMAGE):  # the JSON first: it vouches for the volume
        (out / f"{job.name}{suffix}").unlink(missing_ok=True)
    volume = read(job.series, options)
    if not known_modality(volume.modality):
        raise RejectedInput(Code.BAD_VALUE, "its modality is no defined term of an image")
    intensity = INTENSITY.get(volume.modality, "as stored, rescaled by the header where it says so")
    nifti.build().write(out / job.name, volume, {"intensity": intensity, **job.made_with})


def _settle(
    discovery: Discovery, jobs: list[_Job], refused: list[RefusedSeries], config: Config, pseudonyms: Pseudonyms
) -> Account:
    """Say where each file ended, and leave nothing of an earlier conversion but what is accepted now."""
    lost = {one.series.key for one in refused}
    accepted = {job.series.key: job.name for job in jobs if job.series.key not in lost}
    for job in jobs:
        pseudonyms.remember(series=job.series.key, patient=job.series.identity.patient_id)
    pseudonyms.save_map()
    names = set(accepted.values())
    for path in config.out.iterdir():
        if (found := CONVERTED.fullmatch(path.name)) and found[1] not in names:
            path.unlink()
    ended = account(discovery, accepted, refused, pseudonyms.series)
    atomic.write_bytes(config.out / FILES, table_bytes(files_text(ended.files)))
    atomic.write_bytes(config.out / REJECTIONS, table_bytes(rejections_text(ended.rejections)))
    summary = {**ended.counts.model_dump(), "codes": files_by_code(ended)}
    atomic.write_text(config.out / SUMMARY, json.dumps(summary, indent=2) + "\n")
    return ended


def _tidy(out: Path) -> None:
    for path in out.glob(LEFT_BEHIND):
        if path.is_file():
            path.unlink(missing_ok=True)


def _closing_lines(config: Config, ended: Account, *, kept: int) -> Iterator[str]:
    counts = ended.counts
    yield (
        f"{counts.inputs} files: {counts.used} used, {counts.skipped} skipped, {counts.rejected} rejected. "
        f"{counts.cases} series are converted."
    )
    if kept:
        yield f"{kept} of them stood there already, from the same files with the same settings."
    yield from refusal_lines(ended, config.out / REJECTIONS)
    yield f"Volumes: {config.out}, where each file went: {config.out / FILES}, counts: {config.out / SUMMARY}"
