"""Geometry of a single 2D image: a radiograph is measured at its detector, a picture has no scale."""

import numpy as np
from pydicom.dataset import Dataset

from pipeline.domain.geometry import Geometry, Unit
from pipeline.domain.series import PROJECTION
from pipeline.readers.dicom.content import PARSE_ERRORS
from pipeline.readers.dicom.geometry import sound_geometry
from pipeline.readers.dicom.pixel_format import PixelFormat
from pipeline.readers.dicom.slices import Vector, pixel_spacing
from pipeline.readers.dicom.values import integer, items, number, numbers, text

CENTIMETRES = 3
"""PhysicalUnitsXDirection of a spatial ultrasound region (PS3.3 C.8.5.5.1.15)."""

CALIBRATION_TOLERANCE = 0.01
"""Part by which PixelSpacing and the region of an ultrasound image may differ and say the same: one is rounded."""

DETECTOR_NOTE = "spacing is that of the detector (ImagerPixelSpacing), not corrected for magnification"
REGION_NOTE = "spacing is that of the ultrasound region"
NO_SCALE_NOTE = "the image has no scale: the unit is the pixel"

POLARITY_NOTE = "MONOCHROME2 with an INVERSE PresentationLUTShape contradict each other: larger was taken as brighter"
PROFILE_NOTE = "colours are as stored: the ICC profile of the image, which is not sRGB, was not applied"


def colour_notes(dataset: Dataset) -> tuple[str, ...]:
    """Note where an ICC profile (PS3.3 C.11.15) says that the stored colours are not those of sRGB."""
    try:
        profile = dataset.get("ICCProfile")
    except PARSE_ERRORS:
        profile = None
    if not isinstance(profile, bytes) or text(dataset, "ColorSpace") == "SRGB" or b"sRGB" in profile:
        return ()
    return (PROFILE_NOTE,)


def polarity_notes(dataset: Dataset, layout: PixelFormat) -> tuple[str, ...]:
    """Note where a header says both that larger is brighter and that it is not (PS3.3 C.11.6)."""
    inverse = text(dataset, "PresentationLUTShape") == "INVERSE"
    return (POLARITY_NOTE,) if inverse and layout.photometric == "MONOCHROME2" else ()


def planar_geometry(dataset: Dataset, layout: PixelFormat) -> tuple[Geometry, tuple[str, ...]]:
    """Affine of a 2D image, with k = 1 and the origin in its first pixel, and notes for a reviewer.

    PixelSpacing is taken where it is present, else ImagerPixelSpacing of projection images (PS3.3 10.7.1.1). Ultrasound
    is calibrated by the deltas of its one spatial region (PS3.3 C.8.5.5), which go before a PixelSpacing that says
    otherwise: its images have no such attribute in the standard. Where none is, the unit is the pixel.

    Raises
    ------
    RejectedInput
        BAD_VALUE.
    """
    spacing, notes = _spacing(dataset)
    unit = Unit.PIXEL if spacing is None else Unit.MM
    dj, di = spacing or (1.0, 1.0)
    shape = (layout.columns, layout.rows, 1)
    return sound_geometry(shape, np.diag([di, dj, 1.0, 1.0]), unit), notes


def _spacing(dataset: Dataset) -> tuple[Vector | None, tuple[str, ...]]:
    spacing, modality = pixel_spacing(dataset), text(dataset, "Modality")
    if modality == "US" and (region := _region_spacing(dataset)) is not None:
        if spacing is None:
            return region, (REGION_NOTE,)
        if not np.allclose(spacing, region, rtol=CALIBRATION_TOLERANCE, atol=0.0):
            said = f"PixelSpacing is {spacing[0]:g}\\{spacing[1]:g} mm, the region {region[0]:g}\\{region[1]:g} mm"
            return region, (f"{REGION_NOTE}: {said}",)
    if spacing is not None:
        return spacing, ()
    if modality in PROJECTION and (spacing := pixel_spacing(dataset, "ImagerPixelSpacing")) is not None:
        return spacing, (DETECTOR_NOTE,)
    return None, (NO_SCALE_NOTE, *_oblong_notes(dataset))


def _oblong_notes(dataset: Dataset) -> tuple[str, ...]:
    """Note pixels without a scale that are no squares (PixelAspectRatio, PS3.3 C.7.6.3.1.7: vertical, horizontal)."""
    ratio = numbers(dataset, "PixelAspectRatio", 2)
    if ratio is None or ratio[0] == ratio[1]:
        return ()
    return (f"the pixels are no squares: PixelAspectRatio is {ratio[0]:g}\\{ratio[1]:g}, and was not applied",)


def _region_spacing(dataset: Dataset) -> Vector | None:
    """Deltas of the only region whose axes are centimetres; several regions have no one scale."""
    regions = items(dataset, "SequenceOfUltrasoundRegions")
    if len(regions) != 1:
        return None
    region = regions[0]
    units = (integer(region, "PhysicalUnitsXDirection"), integer(region, "PhysicalUnitsYDirection"))
    dx, dy = number(region, "PhysicalDeltaX"), number(region, "PhysicalDeltaY")
    if units != (CENTIMETRES, CENTIMETRES) or not dx or not dy:
        return None
    return abs(dy) * 10.0, abs(dx) * 10.0
