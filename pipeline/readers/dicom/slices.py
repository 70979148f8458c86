"""One slice of a volume, wherever it is kept: a file of its own, or a frame of an enhanced multi-frame file."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.domain.series import SourceFile
from pipeline.errors import RejectedInput
from pipeline.readers.bounds import LARGEST_SPACING_MM, SMALLEST_MM
from pipeline.readers.dicom.elements import is_present
from pipeline.readers.dicom.pixel_format import PixelFormat
from pipeline.readers.dicom.values import items, number, numbers, private_value, text

Vector = tuple[float, ...]

SPLIT_KEYS = (
    "ImageType",
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "ConvolutionKernel",
    "KVP",
    "StackID",
    "TriggerTime",
    "AcquisitionNumber",
    "ComplexImageComponent",
    "NominalPercentageOfRespiratoryPhase",
    "FlipAngle",
    "SequenceName",
    "SeriesNumber",
    "SeriesDescription",
    "SliceThickness",
)
"""What may tell images at one position apart, the most telling first; frames use the names of single-frame images."""

NUMBERS = frozenset(
    {
        *("EchoTime", "InversionTime", "DiffusionBValue", "NominalPercentageOfCardiacPhase", "KVP", "TriggerTime"),
        *("TemporalPositionIdentifier", "AcquisitionNumber", "NominalPercentageOfRespiratoryPhase", "FlipAngle"),
    }
)
"""Keys whose values are numbers, which are compared as such."""

STRONG_KEYS = SPLIT_KEYS[:9]
"""Keys whose value differs between volumes and never from slice to slice of one volume."""

SERIES_KEYS = ("SeriesNumber", "SeriesDescription")
"""Of the series, not of the image (PS3.3 C.7.3.1): several values are of several series under one UID."""

TIME_KEYS = ("AcquisitionDateTime", "AcquisitionTime", "TriggerTime", "ContentTime")
"""When a slice was acquired: orders repeated passes over the same positions."""

DATE_OF = {"AcquisitionTime": "AcquisitionDate", "ContentTime": "ContentDate"}

MEANING = ("SOPClassUID", "Modality", "PhotometricInterpretation", "Units", "RescaleType")
"""What all slices of one volume share, or its values are of several kinds."""

ENCODING = (
    *("RescaleSlope", "RescaleIntercept", "PixelSpacing", "SliceThickness", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue"),
)

PRIVATE_B_VALUES = (
    ("SIEMENS MR HEADER", 0x0019, 0x0C),
    ("Philips Imaging DD 001", 0x2001, 0x03),
    ("GEMS_PARM_01", 0x0043, 0x39),
)
"""Private elements that hold the b-value: creator, group, element; see the vendors' conformance statements."""

GE_COMPONENT = (("GEMS_PARM_01", 0x0043, 0x2F),)
COMPONENTS = ("MAGNITUDE", "PHASE", "REAL", "IMAGINARY")
"""What GE's private image type counts from 0, in the terms of ComplexImageComponent (PS3.3 C.8.13.3.1.1)."""

GE_B_VALUE_OFFSET = 1_000_000_000
"""GE adds it to the b-value of some software versions."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Where a slice lies and what tells it from others at its place.

    Attributes
    ----------
    frame : int
        Index of the frame in its file, from 0.
    orientation : tuple of float or None
        Direction cosines of a row, then of a column, LPS+ (PS3.3 C.7.6.2.1.1).
    position : tuple of float or None
        Centre of the first voxel, LPS+, mm.
    spacing : tuple of float or None
        (between rows, between columns), mm: PixelSpacing as it stands.
    thickness : float or None
        SliceThickness, mm.
    stated_distance : float or None
        SpacingBetweenSlices, mm, without its sign; positions go before it.
    rescale : tuple of str
        Which attributes turn its stored values into output units.
    meaning : tuple of str
        Values of :data:`MEANING`: what its values are of.
    encoding : tuple of str
        Everything else that the decoded image rests on; copies share it.
    frame_type : str
        FrameType of a multi-frame image.
    keys, times : mapping of str to str
        Values of :data:`SPLIT_KEYS` (but of :data:`SERIES_KEYS` and what has a field) and :data:`TIME_KEYS` that are
        present.
    series : mapping of str to str
        Values of :data:`SERIES_KEYS`: nothing of the image rests on them, copies need not share them.
    stated_place : float or None
        SliceLocation, mm along an axis that the scanner chose; positions go before it.
    tilt : float or None
        GantryDetectorTilt, degrees; the orientation goes before it.
    """

    file: SourceFile
    frame: int
    rows: int
    columns: int
    orientation: Vector | None
    position: Vector | None
    spacing: Vector | None
    thickness: float | None
    frame_of_reference: str
    stated_distance: float | None = None
    rescale: tuple[str, ...] = ()
    meaning: tuple[str, ...] = ()
    encoding: tuple[str, ...] = ()
    frame_type: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, str] = field(default_factory=dict)
    stated_place: float | None = None
    tilt: float | None = None


def slice_of(file: SourceFile, dataset: Dataset, layout: PixelFormat) -> Slice:
    """Slice of a single-frame image (PS3.3 C.7.6.2).

    Raises
    ------
    RejectedInput
        BAD_VALUE.
    """
    return Slice(
        file=file,
        frame=0,
        rows=layout.rows,
        columns=layout.columns,
        orientation=numbers(dataset, "ImageOrientationPatient", 6),
        position=numbers(dataset, "ImagePositionPatient", 3),
        spacing=pixel_spacing(dataset),
        thickness=positive(dataset, "SliceThickness"),
        frame_of_reference=text(dataset, "FrameOfReferenceUID"),
        stated_distance=stated_distance(dataset),
        rescale=rescale_attributes(dataset),
        meaning=tuple(text(dataset, name) for name in MEANING),
        encoding=_encoding(file, dataset),
        keys=keys_of(dataset),
        times=times_of(dataset),
        series=series_of(dataset),
        stated_place=_told(dataset, "SliceLocation"),
        tilt=_told(dataset, "GantryDetectorTilt"),
    )


def keys_of(dataset: Dataset) -> dict[str, str]:
    """Values of :data:`SPLIT_KEYS` that tell one image from another, where they are present."""
    return {key: value for key, read in _KEY_READERS.items() if (value := read(dataset))}


def times_of(dataset: Dataset) -> dict[str, str]:
    """Values of :data:`TIME_KEYS` that are present."""
    return {key: value for key in TIME_KEYS if (value := _time_of(dataset, key))}


def series_of(dataset: Dataset) -> dict[str, str]:
    """Values of :data:`SERIES_KEYS` that are present."""
    return {key: value for key in SERIES_KEYS if (value := text(dataset, key))}


def _time_of(dataset: Dataset, keyword: str) -> str:
    """Time of day with its date before it, where there is one: an acquisition may go on over midnight."""
    time = text(dataset, keyword)
    date = text(dataset, DATE_OF[keyword]) if keyword in DATE_OF else ""
    return date + time if len(date) == 8 and date.isdecimal() and time[:4].isdecimal() else time


def _encoding(file: SourceFile, dataset: Dataset) -> tuple[str, ...]:
    """Values of :data:`ENCODING`; with a Modality LUT no other file has the same."""
    own = file.relative if is_present(dataset, "ModalityLUTSequence") else ""
    return (text(dataset.file_meta, "TransferSyntaxUID"), own, *(text(dataset, name) for name in ENCODING))


def rescale_attributes(dataset: Dataset) -> tuple[str, ...]:
    """Name the attributes of the modality transformation that are present (PS3.3 C.11.1)."""
    table = ("ModalityLUTSequence",) if items(dataset, "ModalityLUTSequence") else ()
    return (*table, *(name for name in ("RescaleSlope", "RescaleIntercept") if text(dataset, name)))


def pixel_spacing(dataset: Dataset, keyword: str = "PixelSpacing") -> Vector | None:
    """Read distances between rows and between columns, mm (PS3.3 10.7.1.3), or None where absent.

    Raises
    ------
    RejectedInput
        BAD_VALUE where one is malformed or not positive.
    """
    spacing = numbers(dataset, keyword, 2)
    if spacing is not None and not SMALLEST_MM <= min(spacing) <= max(spacing) <= LARGEST_SPACING_MM:
        message = f"{keyword} is {spacing[0]:g}\\{spacing[1]:g}; no voxel of a patient is of that size"
        raise RejectedInput(Code.BAD_VALUE, message)
    return spacing


def stated_distance(dataset: Dataset) -> float | None:
    """SpacingBetweenSlices without its sign, mm; None where it is absent or says nothing: no geometry rests on it."""
    value = abs(_told(dataset, "SpacingBetweenSlices") or 0.0)
    return value if SMALLEST_MM <= value <= LARGEST_SPACING_MM else None


def _told(dataset: Dataset, keyword: str) -> float | None:
    """Return a number that only contradicts others; None where it is absent or none."""
    value = text(dataset, keyword)
    try:
        return float(value) if value else None
    except ValueError:
        return None


def positive(dataset: Dataset, keyword: str) -> float | None:
    """Return a number above zero, or None where it is absent or says nothing."""
    value = number(dataset, keyword)
    return value if value is not None and value > 0 else None


def _plain(key: str) -> Callable[[Dataset], str]:
    if key in NUMBERS:
        return lambda dataset: tidy(text(dataset, key))
    return lambda dataset: text(dataset, key)


@lru_cache(maxsize=8192)
def tidy(value: str) -> str:
    """Write a number in one way: 2.30 and 2.3 are one echo, as are the 7 digits that a float32 holds."""
    try:
        return f"{float(value):.7g}"
    except ValueError:
        return value


def _image_type(dataset: Dataset) -> str:
    """Values 3 and up: 1 and 2 say how the pixels came about, and a vendor's flags for one slice follow the axis."""
    return "\\".join(value for value in text(dataset, "ImageType").split("\\")[2:] if value != "ADD")


def _b_value(dataset: Dataset) -> str:
    if standard := text(dataset, "DiffusionBValue"):
        return tidy(standard)
    value = private_value(dataset, PRIVATE_B_VALUES)
    return "" if value is None else _b_number(value)


def _b_number(value: object) -> str:
    """Return the first number of a private element; exports that lost its value representation keep bytes."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace").strip("\0 ")
    if isinstance(value, str):
        value = value.split("\\")
    try:
        first = value[0] if isinstance(value, Sequence) else value
        return f"{float(str(first)) % GE_B_VALUE_OFFSET:g}"
    except (ValueError, IndexError):
        return ""


def _component(dataset: Dataset) -> str:
    """Magnitude, phase, real or imaginary part: as the standard writes it, or as GE's single-frame images do."""
    if standard := text(dataset, "ComplexImageComponent"):
        return standard
    number = _b_number(private_value(dataset, GE_COMPONENT)) if text(dataset, "Modality") in ("MR", "") else ""
    return COMPONENTS[int(number)] if number in ("0", "1", "2", "3") else ""


_KEY_READERS: Mapping[str, Callable[[Dataset], str]] = {
    **{key: _plain(key) for key in SPLIT_KEYS if key not in (*SERIES_KEYS, "SliceThickness")},
    "ImageType": _image_type,
    "DiffusionBValue": _b_value,
    "ComplexImageComponent": _component,
}
