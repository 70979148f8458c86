"""DICOM structured report: one Comprehensive 3D SR a case, which a PACS keeps beside the images."""

from typing import Literal

from pipeline.config import Part
from pipeline.writers.dicom_objects import check_installed
from pipeline.writers.dicom_writing import DicomObjectWriter


class Config(Part):
    """The writer of structured reports has no settings."""

    kind: Literal["dicom_sr"] = "dicom_sr"

    def build(self) -> DicomObjectWriter:
        """Make the writer; UsageError where ``resdx[dicom]`` is not installed."""
        check_installed()
        from pipeline.writers.dicom_sr.writer import ReportWriter

        return ReportWriter()
