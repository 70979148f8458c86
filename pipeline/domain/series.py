"""DICOM's hierarchy as far as the pipeline needs it: files, a Series, and what a discovery found.

These hold raw identifiers. They live in memory and in worker processes only and are never serialised into anything
that leaves the site.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pipeline.domain.codes import Code

PROJECTION = frozenset({"CR", "DX", "MG", "RF", "XA", "IO", "PX"})
"""Modalities (PS3.3 C.7.3.1.1.1) whose image is a projection through the patient: 2D, spaced at the detector."""

PICTURE = frozenset({"XC", "OP", "ES", "GM", "SM", "US", "DMS"})
"""Modalities of photographs and screens: 2D, often in colour."""


class Disposition(StrEnum):
    """Where an input file ended. Every file has exactly one."""

    USED = "used"
    SKIPPED = "skipped"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One input file.

    Attributes
    ----------
    path : Path
        Absolute path.
    relative : str
        Path below the scan folder, with forward slashes.
    size : int
        Bytes.
    sha256 : str
        Hex digest of the content; empty when it could not be read, or was not asked for.
    modified_ns : int or None
        When it was last modified, in nanoseconds since 1970, as the file system tells; None: not known.
    """

    path: Path
    relative: str
    size: int
    sha256: str = ""
    modified_ns: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Raw identifiers, as in the header. PHI: never written except where promise 8 allows."""

    patient_id: str = ""
    study_uid: str = ""
    series_uid: str = ""
    accession: str = ""
    study_date: str = ""
    """YYYYMMDD, or empty."""
    person: str = ""
    """Digest of name and birth date, which tells whether two ids are of one person; empty where either is missing."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One file set aside at discovery, before any case exists.

    ``identity`` tells whose it is where the header says so: a label may name the patient.
    """

    file: SourceFile
    code: Code
    message: str
    series: str = ""
    stage: str = "discover"
    identity: Identity = field(default_factory=Identity)


@dataclass(frozen=True, slots=True)
class Series:
    """Files that form one image or volume.

    Attributes
    ----------
    reader : str
        Name of the reader part: ``dicom``, ``nifti`` or ``picture``.
    key : str
        Unique within a discovery: the SeriesInstanceUID, with ``#`` and a short digest where one series was split into
        stacks, with ``~`` and one where several patients share it; the relative path for NIfTI and pictures. PHI for
        what we write.
    files : tuple of SourceFile
        In an order that the reader chooses.
    modality : str
        ``CT``, ``MR``, ...; empty where the format does not say and no option told.
    stack : int
        Which of the stacks that its files hold (0 where they hold one); files, reader and stack name the series
        again when a case is read from its manifest.
    description : str
        SeriesDescription; free text, may hold PHI.
    attributes : mapping of str to str
        ``site, vendor, model, sex, age, laterality, view, body_part, image_type, plane, slice_thickness, rows,
        columns, slices, transfer_syntax, echo, contrast, kernel, spacing, burned_in, frame_of_reference, missing,
        shared_uid, torn, refused_beside, contradiction``:
        whichever is known. ``age`` in years; ``burned_in`` tells, in words of ours, why text may be part of the
        picture; ``frame_of_reference`` is a raw UID: PHI for what we write; ``missing`` says how many images the
        numbers of the others leave out, ``shared_uid`` that images of it share a SOPInstanceUID, ``torn`` that it is
        one slice, as others like it are, ``refused_beside`` which refused files may have been slices of it,
        ``contradiction`` that class and modality exclude each other.
    """

    reader: str
    key: str
    files: tuple[SourceFile, ...]
    modality: str
    stack: int = 0
    description: str = ""
    identity: Identity = field(default_factory=Identity)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Discovery:
    """All of a scan folder: each file is in a series or in one refusal.

    A multi-frame file of which one stack is refused is in both.
    """

    root: Path
    series: tuple[Series, ...]
    refusals: tuple[Refusal, ...]

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """Every input file once; one that carries two stacks (enhanced multi-frame) too."""
        found = {file.path: file for series in self.series for file in series.files}
        return tuple((found | {refusal.file.path: refusal.file for refusal in self.refusals}).values())

    @property
    def is_bare(self) -> bool:
        """Whether nothing here has a byte that can be read: what a share looks like that is not mounted."""
        return not self.series and all(refusal.file.size == 0 for refusal in self.refusals)
