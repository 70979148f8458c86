"""DICOM data sets in which a unique word stands wherever a name might."""

from phantoms.dicom_series import make_item, make_items, set_text
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset

CANARY = "Zzq"
BASE = "1.2.826.0.1.3680043.9.7777"
"""Begin of every UID that may not stay."""
DATE = "19271103"

TEXTS = (
    *("PatientName", "PatientBirthName", "OtherPatientNames", "PatientMotherBirthName", "PatientAddress"),
    *("PatientTelephoneNumbers", "PatientComments", "AdditionalPatientHistory", "Occupation", "EthnicGroup"),
    *("MedicalRecordLocator", "IssuerOfPatientID", "InstitutionName", "InstitutionAddress", "StationName"),
    *("InstitutionalDepartmentName", "ReferringPhysicianName", "PhysiciansOfRecord", "OperatorsName", "StudyID"),
    *("PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "RequestingPhysician", "AccessionNumber"),
    *("StudyDescription", "SeriesDescription", "ProtocolName", "ImageComments", "RequestedProcedureDescription"),
    *("DeviceSerialNumber", "DerivationDescription", "ContrastBolusAgent", "PerformedProcedureStepDescription"),
    *("CurrentPatientLocation", "AdmittingDiagnosesDescription", "RetrieveAETitle", "DetectorID", "GantryID"),
    *("SoftwareVersions", "ReceiveCoilName", "AcquisitionComments", "SequenceName", "LUTExplanation", "TextString"),
    *("WindowCenterWidthExplanation", "InterpretationText", "RequestAttributesSequence"),
)
FREE_CODES = (
    "Manufacturer",
    "ManufacturerModelName",
    "ConvolutionKernel",
    "BodyPartExamined",
    "PatientSex",
    "Laterality",
)
DATES = (
    *("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate", "PatientBirthDate"),
    *("PerformedProcedureStepStartDate", "LastMenstrualDate", "DateOfSecondaryCapture"),
)
DATETIMES = ("AcquisitionDateTime", "FrameAcquisitionDateTime", "ScheduledProcedureStepStartDateTime")
UIDS = (
    *("InstanceCreatorUID", "IrradiationEventUID", "ConcatenationUID", "SynchronizationFrameOfReferenceUID"),
    *("DimensionOrganizationUID", "TargetUID", "DeviceUID", "ContextUID", "StorageMediaFileSetUID"),
)


def word(name: str) -> str:
    """What stands in an attribute: no usual value of anything, at most 16 characters."""
    return f"{CANARY}^{name}"[:16]


def plant(dataset: Dataset) -> int:
    """Put canaries into a data set; return into how many elements."""
    for keyword in (*TEXTS[:-1], *FREE_CODES):
        set_text(dataset, tag_for_keyword(keyword) or 0, dictionary_VR(keyword), word(keyword))
    for keyword in DATES:
        setattr(dataset, keyword, DATE)
    for keyword in DATETIMES:
        setattr(dataset, keyword, f"{DATE}101112")
    for number, keyword in enumerate(UIDS):
        setattr(dataset, keyword, f"{BASE}.{number}")
    count = len(TEXTS) - 1 + len(FREE_CODES) + len(DATES) + len(DATETIMES) + len(UIDS)
    return count + _plant_nested(dataset) + _plant_binary(dataset)


def _plant_nested(dataset: Dataset) -> int:
    deep = make_item(PatientName=word("deep"), ReferencedSOPInstanceUID=f"{BASE}.90", StudyDate=DATE)
    deep.add_new(0x00291001, "LO", word("nestpriv"))
    middle = make_item(CodeMeaning=word("meaning"), CodeValue=word("code"), TextValue=word("text"))
    middle.ReferencedImageSequence = [deep]
    dataset.AnatomicRegionSequence = [middle]
    dataset.RequestAttributesSequence = make_items(RequestedProcedureID=word("proc"))
    dataset.OriginalAttributesSequence = make_items(
        ModifiedAttributesSequence=[make_item(PatientID=word("old"))], SourceOfPreviousValues=word("source")
    )
    dataset.OtherPatientIDsSequence = make_items(PatientID=word("other"))
    dataset.IconImageSequence = make_items(PixelData=word("icon").encode(), BitsAllocated=8)
    dataset.ContentSequence = make_items(TextValue=word("content"), PersonName=word("person"))
    dataset.DigitalSignaturesSequence = make_items(CertificateOfSigner=word("cert").encode() + b" ")
    dataset.ViewCodeSequence = make_items(
        CodeMeaning=f"{CANARY} Jane", CodeValue=f"{CANARY}1", CodingSchemeDesignator="99LOCAL"
    )
    return 17


def _plant_binary(dataset: Dataset) -> int:
    for group in (0x0009, 0x0029, 0x7FE1):
        dataset.add_new(group << 16 | 0x0010, "LO", word(f"creator{group:x}"))
        dataset.add_new(group << 16 | 0x1001, "OB", word(f"block{group:x}").encode("utf-16-le"))
        dataset.add_new(group << 16 | 0x1002, "UN", word(f"un{group:x}").encode() + b" ")
    dataset.add_new(0x60000022, "LO", word("overlay"))
    dataset.add_new(0x60004000, "LT", word("ovlcomment"))
    dataset.add_new(0x60003000, "OB", word("ovldata").encode() + b" ")
    dataset.add_new(0x50000022, "LO", word("curve"))
    dataset.add_new(0x50003000, "OB", word("curvedata").encode())
    dataset.add_new(0xFFFCFFFC, "OB", word("padding").encode() + b" ")
    dataset.add_new(0x00080018 + 0x00200000, "LO", word("unknown"))  # a group that the standard does not have
    set_text(dataset, 0x00101030, "DS", word("weight"))
    set_text(dataset, 0x00180060, "DS", word("kvp"))
    set_text(dataset, 0x00281050, "DS", word("window"))
    return 19


def traces(content: bytes) -> list[str]:
    """What of the canaries is in some bytes, as they are or as UTF-16."""
    words = (CANARY, CANARY.upper(), BASE, DATE)
    return [
        one
        for one in words
        for coded in (one.encode(), one.encode("utf-16-le"), one.encode("utf-16-be"))
        if coded in content
    ]
