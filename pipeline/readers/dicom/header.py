"""What is kept of a file's header until its series is put together."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from pydicom.dataset import Dataset

from pipeline.domain.case import POOLED_AGE
from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.series import Identity, SourceFile
from pipeline.domain.terms import MODALITIES
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.burned_in import burned_in_risk
from pipeline.readers.dicom.content import read_header
from pipeline.readers.dicom.converted import lift_shared
from pipeline.readers.dicom.elements import element_of, plain_value
from pipeline.readers.dicom.kinds import Kind, contradiction_of, kind_of
from pipeline.readers.dicom.multiframe import frame_attributes, frame_slices
from pipeline.readers.dicom.orientation import check_place
from pipeline.readers.dicom.pixel_format import PixelFormat, check_pixels_present, pixel_format
from pipeline.readers.dicom.slices import Slice, slice_of
from pipeline.readers.dicom.values import item, syntax_of, text
from pipeline.readers.neighbours import CONTRADICTION
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import HeaderCutError

UNKNOWN_AGE = "000Y"
"""What some exports write where they removed the age; a newborn's is given in days."""

LONGEST_LIFE = 115
"""Years: so few have lived longer that an age beyond is a dummy's (00010101, 11111111, 18000101; 999Y)."""

DUMMY_BIRTHS = frozenset({"18991230", "18991231", "19000000", "19000101"})
"""What systems write for a birth date that is not known, the days from which spreadsheets and databases count among
them. A centenarian may have been born on one: one age that is lost, against 90 for everybody. Other dummies, such as
19700101, are birth dates of many who are alive, and count."""


@dataclass(frozen=True, slots=True)
class Header:
    """One image file.

    Attributes
    ----------
    instance_uid : str
        SOPInstanceUID; where an export has lost it, what tells the file from others: its sha256.
    fault : RejectedInput or None
        Why the file cannot be used, found after it was known which series it belongs to: the series then lacks it.
    number : str
        InstanceNumber, as it is written.
    """

    file: SourceFile
    kind: Kind | None
    series_uid: str
    modality: str
    description: str
    instance_uid: str
    identity: Identity
    attributes: Mapping[str, str]
    slices: tuple[Slice, ...] = ()
    fault: RejectedInput | None = None
    number: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a header says of the image; `fault` says why it cannot be used, and what was not reached is empty."""

    kind: Kind | None
    layout: PixelFormat | None
    slices: tuple[Slice, ...]
    fault: RejectedInput | None = None


def read(file: SourceFile, content: bytes, options: ReadOptions) -> Header:
    """Read the header of one file, of which `content` may be the beginning.

    Raises
    ------
    RejectedInput
        Only where the file belongs to no series: it cannot be parsed, or it is to be skipped.
    HeaderCutError
        A beginning does not tell.
    """
    size = max(file.size, len(content))
    dataset, offset = read_header(content, size)
    header = header_of(file, dataset, options, (content, size, offset))
    if header.instance_uid or file.sha256:
        return header if header.instance_uid else replace(header, instance_uid=file.sha256)
    if len(content) < size:
        raise HeaderCutError
    return replace(header, instance_uid=hashlib.sha256(content).hexdigest())


def header_of(
    file: SourceFile, dataset: Dataset, options: ReadOptions, pixels: tuple[bytes, int, int] | None = None
) -> Header:
    """Judge a parsed header and keep what a series is made by; see :func:`read` and :func:`judgement_of`."""
    judged = judgement_of(file, dataset, options, pixels)
    series_uid = text(dataset, "SeriesInstanceUID")
    if not series_uid and judged.kind is not Kind.PLANAR:
        raise judged.fault or RejectedInput(Code.BAD_HEADER, "SeriesInstanceUID is missing")
    return Header(
        file=file,
        kind=judged.kind,
        series_uid=series_uid,
        modality=text(dataset, "Modality") or options.modality,
        description=text(dataset, "SeriesDescription"),
        instance_uid=text(dataset, "SOPInstanceUID"),
        identity=identity_of(dataset),
        attributes=attributes_of(dataset),
        slices=judged.slices,
        fault=judged.fault,
        number=text(dataset, "InstanceNumber"),
    )


def judgement_of(
    file: SourceFile, dataset: Dataset, options: ReadOptions, pixels: tuple[bytes, int, int] | None = None
) -> Judgement:
    """Judge whether a parsed header describes an image that can be read; what a converter left unassigned is lifted.

    Parameters
    ----------
    pixels : tuple of (bytes, int, int), optional
        The file or its beginning, its size and the offset of its pixel data, to check that they are whole; decoding
        finds that out too.

    Raises
    ------
    RejectedInput
        Only where the file is to be skipped.
    """
    kind: Kind | None = None
    layout: PixelFormat | None = None
    slices: tuple[Slice, ...] = ()
    try:
        kind = kind_of(dataset)
        if kind is Kind.FRAMES:
            lift_shared(dataset)
        if is_localizer(dataset):
            raise RejectedInput(Code.LOCALIZER, "says of itself that it is a localizer", stage="discover")
        modality_of(dataset, options)
        layout = pixel_format(dataset, options.max_bytes)
        if kind is Kind.SLICE:
            slices = (slice_of(file, dataset, layout),)
        elif kind is Kind.FRAMES:
            slices = frame_slices(file, dataset, layout)
            kind = Kind.SLICE if layout.frames == 1 else kind  # a volume exported a frame a file
        for one in slices:
            check_place(one)
        if pixels is not None:
            check_pixels_present(*pixels, dataset, layout)
    except RejectedInput as error:
        if error.code in SKIPS:
            raise
        return Judgement(kind, layout, slices, error)
    return Judgement(kind, layout, slices)


def modality_of(dataset: Dataset, options: ReadOptions) -> str:
    """Modality of the header, or the option's where an export has lost it.

    Raises
    ------
    RejectedInput
        NO_MODALITY; BAD_VALUE where it is no defined term of an image, which may be any text.
    """
    modality = text(dataset, "Modality") or options.modality
    if not modality:
        raise RejectedInput(Code.NO_MODALITY, "the header does not say the modality, and nothing else does")
    if modality not in MODALITIES:
        raise RejectedInput(Code.BAD_VALUE, "Modality is no defined term of an image")
    return modality


def is_localizer(dataset: Dataset) -> bool:
    """Whether ImageType calls the image a localizer (PS3.3 C.8.2.1.1.1, C.8.3.1.1.1)."""
    return "LOCALIZER" in text(dataset, "ImageType").upper().split("\\")


def identity_of(dataset: Dataset) -> Identity:
    """Raw identifiers."""
    return Identity(
        patient_id=text(dataset, "PatientID"),
        study_uid=text(dataset, "StudyInstanceUID"),
        series_uid=text(dataset, "SeriesInstanceUID"),
        accession=text(dataset, "AccessionNumber"),
        study_date=text(dataset, "StudyDate").replace(".", ""),
        person=person_of(dataset),
    )


def person_of(dataset: Dataset) -> str:
    """Digest of PatientName and PatientBirthDate, of their bytes: to decode a character set would take its time."""
    name, born = (_bytes_of(dataset, keyword) for keyword in ("PatientName", "PatientBirthDate"))
    return _person(name, born) if name and born else ""


def _bytes_of(dataset: Dataset, keyword: str) -> bytes:
    """Value as the file holds it, empty where it is absent; one that was decoded before, in UTF-8."""
    plain = plain_value(dataset, keyword)
    if plain is not None:
        return plain[0]
    value = getattr(element_of(dataset, keyword), "value", None)
    return value if isinstance(value, bytes) else text(dataset, keyword).encode("utf-8", "surrogateescape")


@lru_cache(maxsize=1024)
def _person(name: bytes, born: bytes) -> str:
    parts = [part.strip(b"\0 ^=").upper() for part in (name, born)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest() if all(parts) else ""


def attributes_of(dataset: Dataset) -> dict[str, str]:
    """Collect what selection rules and covariates may ask for; see :class:`pipeline.domain.series.Series`."""
    found = {
        "site": text(dataset, "InstitutionName"),
        "vendor": text(dataset, "Manufacturer"),
        "model": text(dataset, "ManufacturerModelName"),
        "sex": text(dataset, "PatientSex"),
        "age": age_of(dataset),
        "laterality": laterality_of(dataset),
        "view": view_of(dataset),
        "body_part": text(dataset, "BodyPartExamined"),
        "image_type": text(dataset, "ImageType"),
        "slice_thickness": text(dataset, "SliceThickness"),
        "rows": text(dataset, "Rows"),
        "columns": text(dataset, "Columns"),
        "transfer_syntax": syntax_of(dataset).name,
        "echo": text(dataset, "EchoTime"),
        "contrast": text(dataset, "ContrastBolusAgent"),
        "kernel": text(dataset, "ConvolutionKernel"),
        "burned_in": burned_in_risk(dataset),
        CONTRADICTION: contradiction_of(dataset),
    }
    found |= {name: value for name, value in frame_attributes(dataset).items() if value}
    return {name: value for name, value in found.items() if value}


def age_of(dataset: Dataset) -> str:
    """Age in whole years, from PatientAge (AS, PS3.5 6.2) or the dates of birth and study; 90 stands for older too.

    Empty where neither tells it, or what stands there is a dummy.
    """
    age = text(dataset, "PatientAge").upper()
    if len(age) == 4 and age[:3].isdecimal() and age[3] in "DWMY" and age != UNKNOWN_AGE:
        years = int(int(age[:3]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[age[3]])
        if years <= LONGEST_LIFE:
            return str(min(years, POOLED_AGE))
    born, seen = text(dataset, "PatientBirthDate"), text(dataset, "StudyDate")
    if len(born) == len(seen) == 8 and born.isdecimal() and seen.isdecimal() and born <= seen:
        years = (int(seen) - int(born)) // 10_000
        if years <= LONGEST_LIFE and born not in DUMMY_BIRTHS:
            return str(min(years, POOLED_AGE))
    return ""


def laterality_of(dataset: Dataset) -> str:
    """L, R or B, of the image before that of the series."""
    groups = item(dataset, "SharedFunctionalGroupsSequence")
    anatomy = item(groups, "FrameAnatomySequence") if groups is not None else None
    framed = text(anatomy, "FrameLaterality") if anatomy is not None else ""
    return text(dataset, "ImageLaterality") or text(dataset, "Laterality") or framed


def view_of(dataset: Dataset) -> str:
    """View of a radiograph: PA, AP, LL, CC, MLO, ...; else the meaning of its code."""
    code = item(dataset, "ViewCodeSequence")
    return text(dataset, "ViewPosition") or (text(code, "CodeMeaning") if code is not None else "")
