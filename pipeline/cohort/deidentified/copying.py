"""The de-identified copy of a whole cohort: one folder, ``PATIENT/SERIES/UID.dcm``, there whole or not at all."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

from pipeline import __version__, atomic
from pipeline.cohort.deidentified.instance import deidentify
from pipeline.cohort.deidentified.profile import EDITION
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.domain.codes import Code
from pipeline.domain.rejection import Rejection
from pipeline.domain.series import Series, SourceFile
from pipeline.errors import RejectedInput, UsageError
from pipeline.progress import track
from pipeline.readers.dicom.content import PARSE_ERRORS
from pipeline.readers.loading import load
from pipeline.workers import imap

MARKER = "deidentified.json"
"""Tells a copy of ours from any other folder."""

OURS = re.compile(rf"{re.escape(MARKER)}|P[0-9a-f]{{16}}/S[0-9a-f]{{16}}/2\.25\.[0-9]+\.dcm")
STAGE = "copy"


class Workers(TypedDict):
    """Limits of the worker pool; see :func:`pipeline.workers.imap`."""

    processes: int
    timeout_seconds: float
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Job:
    """One series to copy.

    Attributes
    ----------
    name : str
        Pseudonym of the series.
    patient : str
        Pseudonym.
    """

    name: str
    patient: str
    files: tuple[SourceFile, ...]


Refused = tuple[tuple[SourceFile, RejectedInput], ...]


def jobs_of(series: Sequence[Series], patients: Mapping[str, str], names: Pseudonyms) -> tuple[list[Job], Refused]:
    """One job for each DICOM series of a case, each file in the first that holds it; and the files of other formats.

    Parameters
    ----------
    patients : mapping of str to str
        :attr:`Series.key` of each used series to the pseudonym of its patient.
    """
    jobs: list[Job] = []
    others: list[tuple[SourceFile, RejectedInput]] = []
    seen: set[Path] = set()
    for one in series:
        files = tuple(file for file in one.files if one.key in patients and file.path not in seen)
        seen |= {file.path for file in files}
        if one.reader != "dicom":
            message = "no DICOM file; the copy holds DICOM alone"
            others += [(file, RejectedInput(Code.NOT_SUPPORTED, message, stage=STAGE)) for file in files]
        elif files:
            jobs.append(Job(names.series(one.key), patients[one.key], files))
    return jobs, tuple(others)


def check_folder(folder: Path, scans: Path, private: Sequence[Path]) -> None:
    """Refuse a place for the copy in which something else is, or which holds what leads back to the patients.

    Parameters
    ----------
    private : sequence of Path
        What may not lie in the copy: the manifest, whose tables name source files, and the key of the pseudonyms.

    Raises
    ------
    UsageError
    """
    place = folder.resolve()
    if place.is_relative_to(scans.resolve()):
        message = f"The de-identified copy, {folder}, lies in the folder of scans, where nothing is written."
        raise UsageError(message, "Choose another place.")
    if any(path.expanduser().resolve().is_relative_to(place) for path in private):
        message = f"The manifest or the key of the pseudonyms lies in the de-identified copy, {folder}."
        raise UsageError(message, "Choose another place: what leads back to the patients stays out of the copy.")
    if not place.exists():
        return
    if not place.is_dir():
        raise UsageError(f"The de-identified copy, {folder}, is a file.", "Give a folder.")
    inside = [path for path in place.rglob("*") if not path.is_dir() or path.is_symlink()]
    is_ours = (place / MARKER).is_file()
    if any(not is_ours or not OURS.fullmatch(path.relative_to(place).as_posix()) for path in inside):
        message = f"{folder} holds files that no de-identified copy put there; they are not overwritten."
        raise UsageError(message, "Give a new folder, or an empty one.")


def write_copy(
    folder: Path, jobs: Sequence[Job], names: Pseudonyms, workers: Workers, *, allow_burned_in: bool, max_bytes: int
) -> list[tuple[Job, SourceFile, RejectedInput]]:
    """Write the copy beside its place and put it there whole, over an earlier one; return the files it lacks."""
    lacking: list[tuple[Job, SourceFile, RejectedInput]] = []

    def fill(place: Path) -> None:
        copy = partial(copy_series, place=place, names=names, allow_burned_in=allow_burned_in, max_bytes=max_bytes)
        outcomes = imap(copy, jobs, **workers)
        for job, outcome in zip(jobs, track(outcomes, "de-identified series", len(jobs)), strict=True):
            if outcome.error is not None:  # it ended its worker: whatever it left is no copy
                shutil.rmtree(place / job.patient / job.name, ignore_errors=True)
            refused = outcome.value if outcome.error is None else tuple((one, outcome.error) for one in job.files)
            lacking.extend((job, file, error) for file, error in refused or ())
        told = {"made_by": f"resdx {__version__}", "profile": f"DICOM PS3.15 {EDITION}, Annex E, Basic Profile"}
        atomic.write_text(place / MARKER, json.dumps(told, indent=1) + "\n")

    atomic.replace_folder(folder, fill)
    return lacking


def copy_series(job: Job, *, place: Path, names: Pseudonyms, allow_burned_in: bool, max_bytes: int) -> Refused:
    """Write the files of one series, in a worker process; return those that are refused."""
    folder = place / job.patient / job.name
    return tuple(_copied(job, folder, names, allow_burned_in=allow_burned_in, max_bytes=max_bytes))


def _copied(
    job: Job, folder: Path, names: Pseudonyms, *, allow_burned_in: bool, max_bytes: int
) -> Iterator[tuple[SourceFile, RejectedInput]]:
    for file in job.files:
        try:
            content = load(file)
            made = deidentify(content, job.patient, names.uid, allow_burned_in=allow_burned_in, max_bytes=max_bytes)
            target = folder / f"{made.uid}.dcm"
            if target.exists():
                message = "another file of its series has the same SOP Instance UID"
                raise RejectedInput(Code.DUPLICATE, message, stage=STAGE)
        except PARSE_ERRORS as error:
            if not isinstance(error, RejectedInput):
                message = f"the header cannot be rewritten ({type(error).__name__})"
                error = RejectedInput(Code.BAD_HEADER, message, stage=STAGE)
            error.stage = STAGE
            yield file, error
        else:
            folder.mkdir(parents=True, exist_ok=True)
            target.write_bytes(made.content)


def rejection(file: SourceFile, error: RejectedInput, series: str = "") -> Rejection:
    """Row of the table of what the copy lacks."""
    code = Code(error.code)
    return Rejection(
        path=str(file.path),
        sha256=file.sha256,
        series=series,
        code=code,
        stage=STAGE,
        message=error.message,
        remedy=error.remedy,
    )
