"""The de-identified copy as a part of ingest: where it may lie, what it lacks, and what is said of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline import atomic
from pipeline.cohort.accounting import rejections_text
from pipeline.cohort.deidentified.copying import Workers, check_folder, jobs_of, rejection, write_copy
from pipeline.cohort.deidentified.settings import CopySettings
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.cohort.tables import beside
from pipeline.domain.cells import table_bytes
from pipeline.domain.rejection import Rejection
from pipeline.stages.ingest_tables import COPY_REJECTIONS, Ingested

__all__ = ["Copied", "Workers", "check_copy", "make_copy"]


@dataclass(frozen=True, slots=True)
class Copied:
    """What the copy lacks, and what is said of it."""

    rejections: tuple[Rejection, ...] = ()
    lines: tuple[str, ...] = ()


def check_copy(settings: CopySettings, scans: Path, private: Sequence[Path]) -> None:
    """Refuse a place where the copy may not be, before anything is read; see :func:`check_folder`.

    Raises
    ------
    UsageError
    """
    if settings.folder is not None:
        check_folder(settings.folder, scans, private)


def make_copy(
    settings: CopySettings, out: Path, done: Ingested, names: Pseudonyms, workers: Workers, max_bytes: int
) -> Copied:
    """Write the copy, and beside the manifest the table of the used files that it lacks.

    The table names source files and therefore stands with the others of its kind, never in the copy. Every used file
    is in the copy or in the table.
    """
    table = beside(out, COPY_REJECTIONS)
    if settings.folder is None:
        table.unlink(missing_ok=True)
        return Copied()
    patient_of = {case.case: case.patient for case in done.manifest.cases}
    patients = {series: patient_of[case] for series, case in done.accepted.items()}
    jobs, others = jobs_of(done.discovery.series, patients, names)
    allow = settings.allow_burned_in
    lacking = write_copy(settings.folder, jobs, names, workers, allow_burned_in=allow, max_bytes=max_bytes)
    rejections = [rejection(file, error, job.name) for job, file, error in lacking]
    rejections += [rejection(file, error) for file, error in others]
    rejections.sort(key=lambda one: one.path)
    atomic.write_bytes(table, table_bytes(rejections_text(rejections)))
    copied = sum(1 for _ in settings.folder.glob("P*/S*/*.dcm"))
    used = done.account.counts.used
    assert copied + len(rejections) == used, f"{copied} copied and {len(rejections)} refused are not {used} used files"
    return Copied(tuple(rejections), _lines(settings.folder, copied, used, rejections, table))


def _lines(folder: Path, copied: int, used: int, rejections: Sequence[Rejection], table: Path) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for one in rejections:
        counts[one.code] = counts.get(one.code, 0) + 1
    told = f"De-identified copy of {copied} of {used} used files: {folder}"
    if not rejections:
        return (told,)
    reasons = ", ".join(f"{count} x {code}" for code, count in sorted(counts.items()))
    return told, f"Not in the copy: {reasons}. Every file with its reason: {table}"
