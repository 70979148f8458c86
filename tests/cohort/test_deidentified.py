"""De-identified instances: nothing of the patient stays, all of the image does."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from phantoms.canaries import BASE, CANARY, DATE, plant, traces, word
from phantoms.dicom_series import Identity, make_items, make_voxels, set_text, write_series
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
)

from pipeline.cohort.deidentified.instance import deidentify
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.errors import RejectedInput

PATIENT = "P0123456789abcdef"
LIMIT = 1 << 30


def copy_of(path: Path, names: Pseudonyms, *, allow: bool = False) -> tuple[bytes, Dataset]:
    made = deidentify(path.read_bytes(), PATIENT, names.uid, allow_burned_in=allow, max_bytes=LIMIT)
    return made.content, pydicom.dcmread(BytesIO(made.content))


@pytest.fixture
def names(tmp_path: Path) -> Pseudonyms:
    return Pseudonyms.open(tmp_path / "key")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_no_canary_survives(tmp_path: Path, names: Pseudonyms, syntax: UID) -> None:
    counts = []
    who = Identity(word("id"), word("name"), f"{BASE}.1", f"{BASE}.2", f"{BASE}.3", word("acc"), DATE)
    (path,) = write_series(
        tmp_path / "in",
        make_voxels((6, 5, 1)),
        identity=who,
        transfer_syntax=syntax,
        edit=lambda dataset, _: counts.append(plant(dataset)),
    )
    content = bytearray(path.read_bytes())
    content[:128] = (word("preamble") * 16).encode()[:128]
    trailing = word("trailing").encode() * 4
    path.write_bytes(bytes(content))
    assert counts[0] >= 100 and len(traces(path.read_bytes())) >= 4
    assert traces(copy_of(path, names)[0]) == []
    if syntax == ExplicitVRLittleEndian:
        path.write_bytes(bytes(content) + trailing)
        try:
            assert traces(copy_of(path, names)[0]) == []
        except RejectedInput as refused:
            assert CANARY not in str(refused)


def test_file_meta_is_made_anew(tmp_path: Path, names: Pseudonyms) -> None:
    def edit(dataset: Dataset, _: int) -> None:
        meta = dataset.file_meta
        meta.SourceApplicationEntityTitle = word("ae")
        meta.PrivateInformationCreatorUID = "1.2.826.0.1.3680043.9.7777.5"
        meta.PrivateInformation = word("meta").encode()
        meta.ImplementationVersionName = word("version")

    (path,) = write_series(tmp_path / "in", make_voxels((6, 5, 1)), edit=edit)
    content, dataset = copy_of(path, names)
    assert traces(path.read_bytes()) and traces(content) == []
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


def test_what_was_done_is_said(tmp_path: Path, names: Pseudonyms) -> None:
    (path,) = write_series(tmp_path / "in", make_voxels((6, 5, 1)), identity=Identity(age="097Y", sex="M"))
    _, dataset = copy_of(path, names)
    assert (dataset.PatientID, str(dataset.PatientName), dataset.PatientIdentityRemoved) == (PATIENT, PATIENT, "YES")
    assert (dataset.PatientAge, dataset.PatientSex, dataset.PatientBirthDate) == ("090Y", "M", "")
    assert (dataset.StudyDate, dataset.AccessionNumber, dataset.LongitudinalTemporalInformationModified) == (
        *("", ""),
        "REMOVED",
    )
    codes = [(one.CodeValue, one.CodingSchemeDesignator) for one in dataset.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), ("113108", "DCM")] and "PS3.15" in dataset.DeidentificationMethod
    assert (dataset.Manufacturer, dataset.ManufacturerModelName) == ("Phantom Works", "Model 1")


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        JPEG2000Lossless,
    ],
)
def test_pixels_and_geometry_are_untouched(tmp_path: Path, names: Pseudonyms, syntax: UID) -> None:
    (path,) = write_series(
        tmp_path / "in",
        make_voxels((40, 36, 1)),
        position=(-12.345678, 7.1, 3.3),
        spacing=(0.7, 0.9, 2.5),
        slope=0.1234567,
        transfer_syntax=syntax,
        edit=lambda dataset, _: dataset.add_new(0x00280120, "US", 7),
    )
    before = pydicom.dcmread(path)
    _, after = copy_of(path, names)
    assert after.file_meta.TransferSyntaxUID == syntax
    assert after.PixelData == before.PixelData
    assert np.array_equal(after.pixel_array, before.pixel_array)
    kept = (
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "PixelSpacing",
        "SliceThickness",
        "RescaleSlope",
        "PixelPaddingValue",
    )
    for keyword in kept:
        assert str(after[keyword].value) == str(before[keyword].value)


def test_uids_are_renamed_alike_wherever_they_stand(tmp_path: Path, names: Pseudonyms) -> None:
    other = write_series(tmp_path / "a", make_voxels((6, 5, 1)), part=1)[0]
    target = pydicom.dcmread(other).SOPInstanceUID

    def refer(dataset: Dataset, _: int) -> None:
        dataset.ReferencedImageSequence = make_items(
            ReferencedSOPClassUID=MRImageStorage, ReferencedSOPInstanceUID=target
        )
        dataset.IrradiationEventUID = [target, "1.2.3"]

    path = write_series(tmp_path / "b", make_voxels((6, 5, 1)), edit=refer)[0]
    _, first = copy_of(other, names)
    _, second = copy_of(path, names)
    (reference,) = second.ReferencedImageSequence
    assert reference.ReferencedSOPInstanceUID == first.SOPInstanceUID != target
    assert reference.ReferencedSOPClassUID == MRImageStorage
    assert list(second.IrradiationEventUID) == [names.uid(target), names.uid("1.2.3")]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert first[keyword].value == second[keyword].value != pydicom.dcmread(path)[keyword].value
        assert first[keyword].value.is_valid and first[keyword].value.startswith("2.25.")


def test_another_key_gives_other_uids(tmp_path: Path, names: Pseudonyms) -> None:
    other = Pseudonyms.open(tmp_path / "other")
    assert names.uid("1.2.3") == Pseudonyms.open(tmp_path / "key").uid("1.2.3") != other.uid("1.2.3")
    made = {names.uid(f"1.2.{n}") for n in range(200)}
    assert len(made) == 200 and all(UID(one).is_valid and len(one) <= 64 for one in made)


RISKY = {
    "said": ("CT", lambda dataset: setattr(dataset, "BurnedInAnnotation", "YES")),
    "ultrasound": ("US", lambda dataset: None),
    "capture": ("OT", lambda dataset: None),
    "film": ("CR", lambda dataset: setattr(dataset, "ConversionType", "DF")),
    "screen": ("CT", lambda dataset: setattr(dataset, "ImageType", ["DERIVED", "SECONDARY", "SCREEN SAVE"])),
    "overlay": ("CT", lambda dataset: dataset.add_new(0x60020100, "US", 16)),
    "unsaid class": ("US", lambda dataset: set_text(dataset, 0x00080016, "UI", "")),
}


@pytest.mark.parametrize("name", RISKY)
def test_burned_in_text_is_refused_unless_allowed(tmp_path: Path, names: Pseudonyms, name: str) -> None:
    modality, edit = RISKY[name]
    (path,) = write_series(
        tmp_path / "in", make_voxels((6, 5, 1)), modality=modality, edit=lambda dataset, _: edit(dataset)
    )
    with pytest.raises(RejectedInput) as refused:
        copy_of(path, names)
    assert refused.value.code == "BURNED_IN"
    _, dataset = copy_of(path, names, allow=True)
    assert dataset.PixelData == pydicom.dcmread(path).PixelData


def test_an_ordinary_image_is_no_risk(tmp_path: Path, names: Pseudonyms) -> None:
    (path,) = write_series(
        tmp_path / "in",
        make_voxels((6, 5, 1)),
        edit=lambda dataset, _: setattr(dataset, "BurnedInAnnotation", "NO"),
    )
    assert copy_of(path, names)[1].BurnedInAnnotation == "NO"
