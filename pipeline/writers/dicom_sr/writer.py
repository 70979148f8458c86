"""Writes a case's report as a Comprehensive 3D SR (PS3.3 A.35.13)."""

from pathlib import Path
from typing import Any

from highdicom.sr import Comprehensive3DSR
from pydicom.dataset import Dataset

from pipeline import atomic
from pipeline.writers.dicom_objects import CaseReport, Written, fitted, report_path
from pipeline.writers.dicom_sources import DicomSources, derived_uid, put_identity, put_times
from pipeline.writers.dicom_sr.concepts import scheme_identification
from pipeline.writers.dicom_sr.content import content_of

SERIES_NUMBER = 9900
"""Above what scanners use."""


class ReportWriter:
    """Implements :class:`pipeline.writers.dicom_writing.DicomObjectWriter`: ``CASE_sr.dcm``."""

    def write(self, folder: Path, report: CaseReport, sources: DicomSources) -> Written:
        """See :meth:`pipeline.writers.dicom_writing.DicomObjectWriter.write`."""
        document = document_of(report, sources)
        path = report_path(folder, report.prediction.case)
        atomic.write_with(path, lambda temporary: document.save_as(temporary, enforce_file_format=True))
        return Written((path,))


class _Document(Comprehensive3DSR):
    """highdicom's, which would take patient and study from a source whose SOP class it knows, and log them."""

    def copy_patient_and_study_information(self, dataset: Dataset) -> None:
        """Leave that to :func:`pipeline.writers.dicom_sources.put_identity`."""


def document_of(report: CaseReport, sources: DicomSources) -> Comprehensive3DSR:
    """Build the document: complete, preliminary, verified by nobody."""
    moment = sources.moment(report.made)
    document = _Document(
        evidence=_evidence(sources),
        content=content_of(report, sources)[0],
        series_instance_uid=derived_uid(report, sources, "dicom_sr", "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=derived_uid(report, sources, "dicom_sr", "instance"),
        instance_number=1,
        manufacturer="resdx",
        manufacturer_model_name=fitted(report.model.name),
        software_versions=(fitted(f"resdx {report.model.software}"), fitted(f"model {report.model.version}")),
        device_serial_number=report.model.version,
        series_description=fitted(f"resdx report, research use only: {report.model.name}"),
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[scheme_identification()],
        content_date=moment.date(),
        content_time=moment.time(),
    )
    put_identity(document, sources)
    put_times(document, moment, "InstanceCreation", "Content", "Series")
    return document


def _evidence(sources: DicomSources) -> list[Dataset]:
    """Make what highdicom refers to, the UIDs of each source; patient and study follow in :func:`put_identity`."""
    empty: dict[str, Any] = dict.fromkeys(
        ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID")
    )
    empty |= dict.fromkeys(("StudyDate", "StudyTime", "ReferringPhysicianName"))
    made = []
    for one in sources.instances:
        item = Dataset()
        item.StudyInstanceUID, item.SeriesInstanceUID = one.study, one.series
        item.SOPClassUID, item.SOPInstanceUID = one.sop_class, one.uid
        for keyword, value in empty.items():
            setattr(item, keyword, value)
        made.append(item)
    return made
