"""What a new object takes from the headers of its source images: whose it is, which study, and what it refers to."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

from pipeline.domain.frozen import canonical_json
from pipeline.domain.series import SourceFile
from pipeline.readers.dicom.content import looks_like_dicom, read_header
from pipeline.readers.dicom.values import items, text
from pipeline.readers.loading import load
from pipeline.writers.dicom_objects import CaseReport, NoObjectError

CHARACTER_SET = "ISO_IR 192"
"""UTF-8 (PS3.3 C.12.1.1.2), whatever the sources are written in."""

DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])", re.ASCII)
TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?", re.ASCII)
OFFSET = re.compile(r"([+-])(0\d|1[0-4])([0-5]\d)", re.ASCII)
RATIOS = re.compile(r"\d{1,8}(\.\d{1,6})?(\\\d{1,8}(\.\d{1,6})?)*", re.ASCII)
ANY = re.compile(r".*", re.DOTALL)

REQUIRED: Mapping[str, re.Pattern[str]] = {
    "PatientName": ANY,
    "PatientID": ANY,
    "PatientBirthDate": DATE,
    "PatientSex": re.compile("[MFO]"),
    "StudyInstanceUID": ANY,
    "StudyDate": DATE,
    "StudyTime": TIME,
    "ReferringPhysicianName": ANY,
    "StudyID": ANY,
    "AccessionNumber": ANY,
}
"""Attributes of type 1 and 2 of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): present, perhaps empty.

What a PACS files by is copied letter by letter; a date, time or sex that is none stays empty."""

OPTIONAL: Mapping[str, re.Pattern[str]] = {
    "IssuerOfPatientID": ANY,
    "StudyDescription": ANY,
    "PatientAge": re.compile(r"\d{3}[DWMY]", re.ASCII),
    "TimezoneOffsetFromUTC": OFFSET,
}
"""Copied where they are there: they tell patients of two hospitals apart, or say what the times of the study mean."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One source image."""

    study: str
    series: str
    sop_class: str
    uid: str
    number: int


@dataclass(frozen=True, slots=True)
class DicomSources:
    """What is known of the sources of a case.

    Attributes
    ----------
    attributes : dict of str to str
        Keyword to value of :data:`REQUIRED` and :data:`OPTIONAL`.
    instances : tuple of Instance
        Each once; those of the reported study first, then by series and InstanceNumber.
    modality : str
        Of the first file.
    procedures : tuple of (str, str, str)
        Code value, scheme and meaning of the study's procedures (ProcedureCodeSequence).
    lossy : tuple of (str, str)
        LossyImageCompressionRatio and -Method of the first source that was ever compressed with loss; each may be
        empty. None: no source says so.
    laterality : str
        L or R, where all sources say so, else empty.
    burned_in : str
        YES where any source has text burned in, NO where all say that they have none, else empty.
    """

    attributes: Mapping[str, str]
    instances: tuple[Instance, ...]
    modality: str
    procedures: tuple[tuple[str, str, str], ...]
    lossy: tuple[str, str] | None
    laterality: str
    burned_in: str

    def moment(self, made: datetime) -> datetime:
        """`made` on the clock that the study's own times are of, where it tells; else as it was given."""
        if found := OFFSET.fullmatch(self.attributes.get("TimezoneOffsetFromUTC", "")):
            offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
            return made.astimezone(timezone(-offset if found[1] == "-" else offset))
        return made


def read_sources(files: Sequence[SourceFile]) -> DicomSources:
    """Read the headers of a case's files, each verified by its digest.

    Raises
    ------
    NoObjectError
        The files are no DICOM, lack a UID that an object must refer to, or belong to several patients.
    RejectedInput
        A file cannot be read, or has changed.
    """
    headers = [_header(file, len(files)) for file in files]
    if not headers:
        raise NoObjectError("the case has no source file")
    if len({(text(one, "PatientID"), text(one, "IssuerOfPatientID")) for one in headers}) > 1:
        raise NoObjectError("the source files name several patients: an object can be filed under one alone")
    first = headers[0]
    found = {instance.uid: instance for instance in map(_instance, headers)}
    study = text(first, "StudyInstanceUID")
    instances = sorted(found.values(), key=lambda one: (one.study != study, one.study, one.series, one.number, one.uid))
    sides = {text(one, "ImageLaterality") or text(one, "Laterality") for one in headers}
    burned = {text(one, "BurnedInAnnotation") for one in headers}
    return DicomSources(
        attributes=_attributes(first),
        instances=tuple(instances),
        modality=text(first, "Modality"),
        procedures=tuple(_procedures(first)),
        lossy=next((_lossy(one) for one in headers if text(one, "LossyImageCompression") == "01"), None),
        laterality=sides.pop() if sides in ({"L"}, {"R"}) else "",
        burned_in="YES" if "YES" in burned else "NO" if burned == {"NO"} else "",
    )


def put_identity(dataset: Dataset, sources: DicomSources) -> None:
    """Set patient and study of a new object, in UTF-8.

    They are put past highdicom, which logs, or refuses, a name that it finds odd.
    """
    dataset.SpecificCharacterSet = CHARACTER_SET
    for keyword, value in sources.attributes.items():
        setattr(dataset, keyword, value)


def put_times(dataset: Dataset, moment: datetime, *keywords: str) -> None:
    """Set pairs of date and time, named without these words: ``Content``, ``Series``, ``InstanceCreation``.

    And that of highdicom's own entry among the equipment, for which it takes the time of day.
    """
    for item in dataset.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = moment.strftime("%Y%m%d%H%M%S.%f")
    for keyword in keywords:
        setattr(dataset, f"{keyword}Date", moment.strftime("%Y%m%d"))
        setattr(dataset, f"{keyword}Time", moment.strftime("%H%M%S.%f"))


def derived_uid(report: CaseReport, sources: DicomSources, *what: str) -> UID:
    """Derive the UID of one thing within the objects of a case: the same of the same report, another of any other."""
    content = {
        "prediction": report.prediction.model_dump(mode="json"),
        "findings": [finding.model_dump(mode="json") for finding in report.findings],
        "model": report.model.model_dump(mode="json"),
        "made": report.made.isoformat(),
        "sources": [one.uid for one in sources.instances],
        "identity": dict(sources.attributes),
    }
    return generate_uid(entropy_srcs=["resdx", *(f"{len(word)}:{word}" for word in what), canonical_json(content)])


def _header(file: SourceFile, count: int) -> Dataset:
    content = load(file)
    if not looks_like_dicom(content[:256]):
        raise NoObjectError(
            f"a source file (of {count}) is no DICOM: it names no patient and no study that an object could be filed "
            "under, and none is made up"
        )
    return read_header(content)[0]


def _instance(header: Dataset) -> Instance:
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
    uids = [text(header, keyword) for keyword in keywords]
    for keyword, uid in zip(keywords, uids, strict=True):
        if not uid or not UID(uid).is_valid:
            raise NoObjectError(f"{keyword} of a source image is missing or no UID: it cannot be referred to")
    number = text(header, "InstanceNumber")
    study, series, sop_class, uid = uids
    return Instance(study, series, sop_class, uid, int(number) if re.fullmatch(r"\d{1,9}", number, re.ASCII) else 0)


def _attributes(header: Dataset) -> dict[str, str]:
    found = {keyword: text(header, keyword) for keyword in (*REQUIRED, *OPTIONAL)}
    for keyword in ("PatientBirthDate", "StudyDate"):
        found[keyword] = found[keyword].replace(".", "")  # as ACR-NEMA wrote dates
    rules = {**REQUIRED, **OPTIONAL}
    valid = {keyword: value if rules[keyword].fullmatch(value) else "" for keyword, value in found.items()}
    return {keyword: value for keyword, value in valid.items() if value or keyword in REQUIRED}


def _procedures(header: Dataset) -> list[tuple[str, str, str]]:
    codes = [
        (text(item, "CodeValue"), text(item, "CodingSchemeDesignator"), text(item, "CodeMeaning"))
        for item in items(header, "ProcedureCodeSequence")
    ]
    return [code for code in codes if all(code)]


def _lossy(header: Dataset) -> tuple[str, str]:
    ratio = text(header, "LossyImageCompressionRatio")
    return ratio if RATIOS.fullmatch(ratio) else "", text(header, "LossyImageCompressionMethod")
