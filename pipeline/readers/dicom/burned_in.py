"""Images into whose pixels text about the patient may be burned (PS3.15 E.3.1, PS3.3 C.7.6.1.1.7)."""

from pydicom import uid
from pydicom.dataset import Dataset

from pipeline.readers.dicom.elements import numbers_of_tags
from pipeline.readers.dicom.kinds import CAPTURES, class_of
from pipeline.readers.dicom.values import text

ULTRASOUND = frozenset(
    {
        uid.UltrasoundImageStorage,
        uid.UltrasoundMultiFrameImageStorage,
        uid.UID("1.2.840.10008.5.1.4.1.1.6"),  # both retired
        uid.UID("1.2.840.10008.5.1.4.1.1.3"),
    }
)
PHOTOGRAPHS = frozenset({uid.VLEndoscopicImageStorage, uid.VLMicroscopicImageStorage, uid.VLPhotographicImageStorage})
"""Visible light, whose cameras write name and date into the picture."""

CAPTURED = frozenset({"DV", "DF", "WSD", "SD", "DRW", "SYN"})
"""ConversionType (PS3.3 C.8.6.1) of video, film, screens, documents and drawings that were made digital."""

OVERLAY_GROUPS = range(0x6000, 0x6020, 2)


def burned_in_risk(dataset: Dataset) -> str:
    """Why text may be burned into an image, in words that hold nothing of its header; empty: nothing says so.

    What a header does not tell stays unseen: an image of another kind is trusted unless BurnedInAnnotation is YES.
    """
    sop_class = class_of(dataset)
    if text(dataset, "BurnedInAnnotation").upper() == "YES":
        return "the header says so"
    if sop_class in ULTRASOUND or text(dataset, "Modality") in ("US", "IVUS", "BDUS"):
        return "an ultrasound image"
    if sop_class in CAPTURES or text(dataset, "ConversionType").upper() in CAPTURED:
        return "a secondary capture"
    if sop_class in PHOTOGRAPHS or text(dataset, "Modality") in ("XC", "ES", "GM"):
        return "a photograph"
    if "SCREEN SAVE" in text(dataset, "ImageType").upper():
        return "a picture of a screen"
    # an overlay without data of its own lies in unused bits of the pixels (PS3.5 8.1.2, retired)
    overlays = {tag for tag in numbers_of_tags(dataset) if tag >> 24 == 0x60 and tag >> 16 in OVERLAY_GROUPS}
    if any(tag & 0xFFFF == 0x0100 and tag + 0x2F00 not in overlays for tag in overlays):
        return "an overlay lies within the pixels"
    return ""
