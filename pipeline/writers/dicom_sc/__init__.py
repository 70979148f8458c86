"""DICOM secondary capture: the heatmap of each finding as a picture that every viewer shows."""

from typing import Literal

from pipeline.config import Part
from pipeline.writers.dicom_objects import check_installed
from pipeline.writers.dicom_writing import DicomObjectWriter


class Config(Part):
    """The writer of secondary captures has no settings."""

    kind: Literal["dicom_sc"] = "dicom_sc"

    def build(self) -> DicomObjectWriter:
        """Make the writer; UsageError where ``resdx[dicom]`` is not installed."""
        check_installed()
        from pipeline.writers.dicom_sc.writer import CaptureWriter

        return CaptureWriter()
