"""One DICOM file de-identified: its pixels and its geometry as they were, its patient a pseudonym."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from dicomanonymizer.simpledicomanonymizer import replace_element
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from pipeline import __version__
from pipeline.cohort.deidentified.profile import EDITION, SCHEMES, WORDS, Action, action_of
from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.burned_in import burned_in_risk
from pipeline.readers.dicom.content import HEADER_BYTES, read_whole
from pipeline.readers.dicom.deflate import deflated_start
from pipeline.readers.dicom.header import age_of
from pipeline.readers.dicom.layout import known_vr
from pipeline.readers.dicom.values import text

Rename = Callable[[str], str]
"""From a UID to the one that stands for it everywhere in the copy."""

METHODS = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113108", "Retain Patient Characteristics Option"),
)
"""What was done (PS3.16 CID 7050). Of the patient's characteristics age and sex stay."""


@dataclass(frozen=True, slots=True)
class Deidentified:
    """A file ready to be written, and its new SOP Instance UID."""

    uid: str
    content: bytes


def deidentify(content: bytes, patient: str, rename: Rename, *, allow_burned_in: bool, max_bytes: int) -> Deidentified:
    """De-identify one file by the Basic Application Level Confidentiality Profile (PS3.15 E.2).

    Parameters
    ----------
    patient : str
        Pseudonym that becomes PatientID and PatientName.
    max_bytes : int
        Largest image, in bytes.

    Raises
    ------
    RejectedInput
        BURNED_IN; what :func:`pipeline.readers.dicom.content.read_whole` raises.
    """
    dataset = read_whole(content, max_bytes + HEADER_BYTES)
    if not allow_burned_in and (risk := burned_in_risk(dataset)):
        raise RejectedInput(Code.BURNED_IN, f"text about the patient may be part of the picture: {risk}", stage="copy")
    is_deflated = deflated_start(content) is not None
    syntax = DeflatedExplicitVRLittleEndian if is_deflated else dataset.file_meta.TransferSyntaxUID
    sop_class = text(dataset, "SOPClassUID") or text(dataset.file_meta, "MediaStorageSOPClassUID")
    age, sex = age_of(dataset), text(dataset, "PatientSex")
    clean(dataset, rename)
    _identify(dataset, patient, age, sex)
    dataset.SOPClassUID = UID(sop_class)
    if not text(dataset, "SOPInstanceUID"):
        dataset.SOPInstanceUID = UID(rename(f"content:{hashlib.sha256(content).hexdigest()}"))
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.preamble = bytes(128)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return Deidentified(str(dataset.SOPInstanceUID), stream.getvalue())


def clean(dataset: Dataset, rename: Rename, *, nested: bool = False) -> None:
    """Treat every element of a data set, and of the items within it, in place."""
    for tag in list(dataset.keys()):
        element = dataset.get_item(tag)
        assert element is not None
        vr = element.VR or known_vr(tag)
        if vr == "UN":
            vr = known_vr(tag)
        texts = [] if WORDS & set(known_vr(tag).split(" or ")) else _texts(element.value)
        action = action_of(tag, vr, texts, nested=nested)
        if action is Action.INTO and isinstance(dataset[tag].value, Sequence):
            for one in dataset[tag].value:
                clean(one, rename, nested=True)
        elif action is not Action.KEEP:
            _replace(dataset, tag, action, element.value, rename)

    if text(dataset, "CodingSchemeDesignator") not in SCHEMES:
        for keyword in ("CodeValue", "CodeMeaning"):
            if keyword in dataset:
                setattr(dataset, keyword, "")


def _replace(dataset: Dataset, tag: BaseTag, action: Action, value: object, rename: Rename) -> None:
    if action in (Action.REMOVE, Action.INTO):
        del dataset[tag]
        return
    vr = dictionary_VR(tag)
    if action is Action.UID:
        new = [one if _is_registered(one) else rename(one) for one in _texts(value) if one]
        dataset[tag] = DataElement(tag, "UI", new if len(new) > 1 else "".join(new))
        return
    dataset[tag] = DataElement(tag, vr, Sequence() if vr == "SQ" else None)
    if action is Action.DUMMY:
        replace_element(dataset[tag])


def _is_registered(one: str) -> bool:
    """Whether the standard defines a UID (PS3.6 A): of a class, a syntax, a well-known frame of reference."""
    return UID(one).name != one


def _texts(value: object) -> list[str]:
    """Values of an element of text, undecoded bytes byte by byte; nothing of a sequence."""
    if value is None or isinstance(value, Sequence):
        return []
    if isinstance(value, bytes):
        return [one.strip("\0 ") for one in value.decode("latin-1").split("\\")]
    several = value if not isinstance(value, str) and hasattr(value, "__iter__") else [value]
    return [str(one).strip("\0 ") for one in several]


def _identify(dataset: Dataset, patient: str, age: str, sex: str) -> None:
    """Write the pseudonym, what stays of the patient, and what was done (PS3.15 E.1.1)."""
    dataset.PatientID = dataset.PatientName = patient
    if age:
        dataset.PatientAge = f"{int(age):03d}Y"
    if sex in ("F", "M", "O"):
        dataset.PatientSex = sex
    dataset.PatientIdentityRemoved = "YES"
    dataset.LongitudinalTemporalInformationModified = "REMOVED"
    dataset.DeidentificationMethod = f"PS3.15 {EDITION} Basic Profile by resdx {__version__}"
    dataset.DeidentificationMethodCodeSequence = Sequence([_code(*method) for method in METHODS])


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
