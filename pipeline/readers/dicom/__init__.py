"""DICOM: single-frame and enhanced multi-frame images (PS3.3, PS3.5, PS3.10)."""

from typing import TYPE_CHECKING, Literal

from pipeline.config import Part

if TYPE_CHECKING:
    from pipeline.readers.reader import Reader


class Config(Part):
    """The DICOM reader has no settings of its own; see :class:`pipeline.readers.options.ReadOptions`."""

    kind: Literal["dicom"] = "dicom"

    def build(self) -> "Reader":
        """Make the reader."""
        from pipeline.readers.dicom.reader import DicomReader

        return DicomReader()
