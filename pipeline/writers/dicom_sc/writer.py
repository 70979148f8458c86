"""Writes the heatmaps of a case, one secondary capture image a finding (PS3.3 A.8), uncompressed RGB of 8 bits."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from highdicom.sc import SCImage
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from pipeline import atomic
from pipeline.writers.dicom_objects import DISCLAIMER, CaseReport, Written, capture_path, fitted
from pipeline.writers.dicom_sources import DicomSources, derived_uid, put_identity, put_times

SERIES_NUMBER = 9901
"""Of the first finding; each has a series of its own, whose description names it."""

NO_SHEET = "there is no heatmap to be shown"
WITHHELD = "the answer is withheld, and with it what it rests on"


class CaptureWriter:
    """Implements :class:`pipeline.writers.dicom_writing.DicomObjectWriter`: ``CASE_FINDING_sc.dcm``."""

    def write(self, folder: Path, report: CaseReport, sources: DicomSources) -> Written:
        """See :meth:`pipeline.writers.dicom_writing.DicomObjectWriter.write`."""
        answered = {answer.finding for answer in report.prediction.findings}
        shown = [finding.name for finding in report.findings if finding.name in report.sheets]
        if not answered & set(shown):
            return Written((), WITHHELD if shown else NO_SHEET)
        paths = []
        for number, finding in enumerate(finding.name for finding in report.findings):
            if finding in shown and finding in answered:
                image = image_of(report, sources, finding, SERIES_NUMBER + number)
                paths.append(capture_path(folder, report.prediction.case, finding))
                _save(paths[-1], image)
        return Written(tuple(paths))


def _save(path: Path, image: SCImage) -> None:
    atomic.write_with(path, lambda temporary: image.save_as(temporary, enforce_file_format=True))


def image_of(report: CaseReport, sources: DicomSources, finding: str, series_number: int) -> SCImage:
    """Build the image of one finding.

    It claims no frame of reference, spacing or orientation: a sheet of several slices has none. Burned in text and
    compression with loss are inherited from the sources, whose pixels it shows (PS3.3 C.7.6.1.1.5).
    """
    sheet = np.ascontiguousarray(report.sheets[finding])
    key = hashlib.sha256(f"{sheet.shape}{report.sheet_method}".encode() + sheet.tobytes()).hexdigest()
    moment = sources.moment(report.made)
    image = SCImage(
        pixel_array=sheet,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),  # highdicom insists; emptied below
        study_instance_uid=sources.attributes["StudyInstanceUID"],
        series_instance_uid=derived_uid(report, sources, "dicom_sc", "series", finding, key),
        series_number=series_number,
        sop_instance_uid=derived_uid(report, sources, "dicom_sc", "instance", finding, key),
        instance_number=1,
        manufacturer="resdx",
        manufacturer_model_name=fitted(report.model.name),
        software_versions=(fitted(f"resdx {report.model.software}"), fitted(f"model {report.model.version}")),
        device_serial_number=report.model.version,
        series_description=fitted(f"resdx heatmap of {finding}: {report.model.name}"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    put_identity(image, sources)
    put_times(image, moment, "InstanceCreation", "Content", "Series")
    image.DateOfSecondaryCapture, image.TimeOfSecondaryCapture = image.ContentDate, image.ContentTime
    setattr(image, "PatientOrientation", None)  # noqa: B010 - declared as a list, and here unknown
    image.Laterality = sources.laterality
    image.ConversionType = "WSD"
    image.DerivationDescription = fitted(_derivation(report, finding), 1024)
    image.ImageComments = DISCLAIMER
    image.SourceImageSequence = [_reference(one.sop_class, one.uid) for one in sources.instances]
    _put_references(image, sources)
    if sources.burned_in:
        image.BurnedInAnnotation = sources.burned_in
    if sources.lossy is not None:
        image.LossyImageCompression = "01"
        ratio, method = sources.lossy
        if ratio and method:
            image.LossyImageCompressionRatio = ratio.split("\\")
            image.LossyImageCompressionMethod = method.split("\\")
    return image


def _derivation(report: CaseReport, finding: str) -> str:
    model = report.model
    return f"Heatmap of {finding} ({report.sheet_method}) over the scan, by {model.name}, model {model.digest}"


def _reference(sop_class: str, uid: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def _put_references(image: Dataset, sources: DicomSources) -> None:
    """Set the Common Instance Reference module (PS3.3 C.12.2): the series of this study, and of others."""
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for one in sources.instances:
        series = studies.setdefault(one.study, {}).setdefault(one.series, [])
        series.append(_reference(one.sop_class, one.uid))
    image.ReferencedSeriesSequence = _series_items(studies.pop(sources.attributes["StudyInstanceUID"]))
    others = []
    for study, found in studies.items():
        item = Dataset()
        item.StudyInstanceUID = study
        item.ReferencedSeriesSequence = _series_items(found)
        others.append(item)
    if others:
        image.StudiesContainingOtherReferencedInstancesSequence = others


def _series_items(series: Mapping[str, list[Dataset]]) -> list[Dataset]:
    made = []
    for uid, instances in series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = instances
        made.append(item)
    return made
