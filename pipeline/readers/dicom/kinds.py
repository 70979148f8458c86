"""Which information objects (PS3.4 B.5) hold an image, and of what kind."""

from collections.abc import Mapping, Sequence
from enum import Enum

from pydicom import uid
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.domain.series import PICTURE, PROJECTION
from pipeline.domain.terms import MODALITIES
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.elements import is_present
from pipeline.readers.dicom.values import integer, private_value, shown, text


class Kind(Enum):
    """How the images of an object become a Volume."""

    SLICE = "slice"
    """One slice of a volume that other files of the series complete."""
    FRAMES = "frames"
    """Enhanced multi-frame: the slices of one or more volumes in one file."""
    PLANAR = "planar"
    """A single 2D image: a radiograph, a photograph, a screen."""


CROSS_SECTIONAL = frozenset({"CT", "MR", "PT"})

MODALITY_OF_SLICES: Mapping[str, str] = {
    uid.CTImageStorage: "CT",
    uid.MRImageStorage: "MR",
    uid.PositronEmissionTomographyImageStorage: "PT",
}
MODALITY_OF_FRAMES: Mapping[str, str] = {
    uid.EnhancedCTImageStorage: "CT",
    uid.EnhancedMRImageStorage: "MR",
    uid.EnhancedPETImageStorage: "PT",
    uid.LegacyConvertedEnhancedCTImageStorage: "CT",
    uid.LegacyConvertedEnhancedMRImageStorage: "MR",
    uid.LegacyConvertedEnhancedPETImageStorage: "PT",
}
"""What Modality is in objects of a class: the enhanced ones are held to it by their series module (PS3.3 C.8.15.1)."""

SLICES = frozenset(MODALITY_OF_SLICES)
FRAMES = frozenset(MODALITY_OF_FRAMES)
PLANAR = frozenset(
    {
        uid.ComputedRadiographyImageStorage,
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.DigitalMammographyXRayImageStorageForPresentation,
        uid.DigitalMammographyXRayImageStorageForProcessing,
        uid.DigitalIntraOralXRayImageStorageForPresentation,
        uid.DigitalIntraOralXRayImageStorageForProcessing,
        uid.XRayAngiographicImageStorage,
        uid.XRayRadiofluoroscopicImageStorage,
        uid.UltrasoundImageStorage,
        uid.UltrasoundMultiFrameImageStorage,
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
        uid.VLEndoscopicImageStorage,
        uid.VLMicroscopicImageStorage,
        uid.VLPhotographicImageStorage,
        uid.OphthalmicPhotography8BitImageStorage,
        uid.OphthalmicPhotography16BitImageStorage,
    }
)
CAPTURES = frozenset(
    {
        uid.SecondaryCaptureImageStorage,
        uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
        uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
        uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    }
)
"""Images that were made otherwise than by the modality: screens, scanned films, figures (PS3.3 A.8)."""

SAVED_SCREENS = frozenset({"SCREEN SAVE", "CT_SOM5 PROT", "DOSE_INFO"})
"""Values of ImageType of pages saved at a console: screens of GE, dose pages of Siemens and Philips."""

DERIVED = frozenset(
    {
        uid.SegmentationStorage,
        uid.RTDoseStorage,
        uid.ParametricMapStorage,
        uid.MediaStorageDirectoryStorage,
    }
)
"""Objects with pixels or without that are no acquired image: they are skipped, as reports are."""

STANDARD_ROOT = "1.2.840.10008."
"""Prefix of the UIDs that the standard defines (PS3.6 A)."""

MOSAIC_MARKS = frozenset({"MOSAIC", "VFRAME"})
"""Values of ImageType for slices tiled into one image: Siemens' mosaic, UIH's grid."""

TILE_COUNTS = (("SIEMENS MR HEADER", 0x0019, 0x0A), ("Image Private Header", 0x0065, 0x50))
"""NumberOfImagesInMosaic of Siemens (US), and the number of slices of UIH's grid (DS)."""

BINARY_COUNT = 2
"""Bytes of a US whose value representation an export has lost."""


def kind_of(dataset: Dataset) -> Kind:
    """Kind of an object by its SOP class; by its modality where an export has lost the class.

    Raises
    ------
    RejectedInput
        DICOMDIR and NOT_AN_IMAGE (skips), MOSAIC, or NOT_SUPPORTED.
    """
    sop_class = class_of(dataset)
    if sop_class == uid.MediaStorageDirectoryStorage or is_present(dataset, "DirectoryRecordSequence"):
        raise RejectedInput(Code.DICOMDIR, "an index of other files", stage="discover")
    has_pixels = is_present(dataset, "Rows") and is_present(dataset, "Columns")
    if sop_class in DERIVED or (not has_pixels and _is_no_image(sop_class, dataset)):
        raise RejectedInput(Code.NOT_AN_IMAGE, "a DICOM object without an acquired image", stage="discover")
    if is_saved_screen(dataset):
        message = "a page saved at the console (a dose report, say), as ImageType says: no acquired image"
        raise RejectedInput(Code.NOT_AN_IMAGE, message, stage="discover")
    if not has_pixels:
        raise RejectedInput(Code.TRUNCATED, "the header ends before it says how large the image is")
    if MOSAIC_MARKS & set(text(dataset, "ImageType").upper().split("\\")):
        raise RejectedInput(Code.MOSAIC, "slices are tiled into one image")
    if text(dataset, "Modality") == "MR" and _tiles(dataset) > 1:
        raise RejectedInput(Code.MOSAIC, "slices are tiled into one image, as a private element says")
    kind = _by_class(sop_class) if sop_class else _by_modality(text(dataset, "Modality"))
    frames = frame_count(dataset)
    if kind is None:
        raise RejectedInput(Code.NOT_SUPPORTED, f"images of the class {_name(sop_class)} are not read yet")
    if kind is not Kind.FRAMES and frames > 1:
        raise RejectedInput(Code.NOT_SUPPORTED, f"{frames} frames without a place in the patient: a cine or a stack")
    return kind


def class_of(dataset: Dataset) -> str:
    """SOP class by the object, else by the header of its file; empty where an export has lost both."""
    return text(dataset, "SOPClassUID") or text(dataset.file_meta, "MediaStorageSOPClassUID")


def is_saved_screen(dataset: Dataset) -> bool:
    """Whether a secondary capture says that it is a page of a console, which nearly every CT study ends with.

    Where the screen is all that is ever kept (ultrasound, endoscopy), it is the image.
    """
    if class_of(dataset) not in CAPTURES or text(dataset, "Modality") in PICTURE:
        return False
    return bool(SAVED_SCREENS & set(text(dataset, "ImageType").upper().split("\\")))


def contradiction_of(dataset: Dataset) -> str:
    """Say where class and modality exclude each other: research tools export MR as CT images, and anonymisers err.

    Which of them is wrong the header does not tell, and windows and units rest on it.
    """
    sop_class = class_of(dataset)
    allowed = MODALITY_OF_SLICES.get(sop_class) or MODALITY_OF_FRAMES.get(sop_class)
    said = text(dataset, "Modality")
    if not allowed or not said or said == allowed:
        return ""
    return f"its class is that of {allowed} images, its Modality is {shown(said, MODALITIES)}: one of them is wrong"


def _tiles(dataset: Dataset) -> int:
    """Count the slices in one image by the vendor's private element: exports lose values of ImageType."""
    value = private_value(dataset, TILE_COUNTS)
    first = value[0] if isinstance(value, Sequence) and not isinstance(value, str | bytes) and value else value
    try:
        if isinstance(first, bytes):
            is_binary = len(first) == BINARY_COUNT and not first.strip(b" \0").isdigit()
            return int.from_bytes(first, "little") if is_binary else int(float(first.decode("ascii").strip("\0 ")))
        return 0 if first is None else int(float(str(first)))
    except (ValueError, OverflowError):
        return 0


def _is_no_image(sop_class: str, dataset: Dataset) -> bool:
    """Whether an object without rows never had any. A class that is cut off is none that the standard knows."""
    if sop_class in SLICES | FRAMES | PLANAR:
        return False
    is_whole = uid.UID(sop_class).name != sop_class if sop_class.startswith(STANDARD_ROOT) else bool(sop_class)
    return is_whole and is_present(dataset, "SeriesInstanceUID")


def frame_count(dataset: Dataset) -> int:
    """NumberOfFrames, 1 where absent.

    Raises
    ------
    RejectedInput
        BAD_VALUE where it is no positive integer.
    """
    count = integer(dataset, "NumberOfFrames")
    if count is not None and count < 1:
        raise RejectedInput(Code.BAD_VALUE, f"NumberOfFrames is {count}")
    return 1 if count is None else count


def _by_class(sop_class: str) -> Kind | None:
    if sop_class in SLICES:
        return Kind.SLICE
    if sop_class in FRAMES:
        return Kind.FRAMES
    return Kind.PLANAR if sop_class in PLANAR else None


def _by_modality(modality: str) -> Kind | None:
    if modality in CROSS_SECTIONAL:
        return Kind.SLICE
    return Kind.PLANAR if modality in PROJECTION | PICTURE else None


def _name(sop_class: str) -> str:
    known = uid.UID(sop_class).name
    return known if known != sop_class else "a private SOP class"
