"""Real DICOM files with known voxels at known millimetres: series of one file a slice.

Voxel arrays are (i, j, k): columns, rows, slices along the normal, as in :class:`pipeline.domain.volume.Volume`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import openjpeg.utils
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

Vector = tuple[float, float, float]
Orientation = tuple[Vector, Vector]
Edit = Callable[[Dataset, int], None]

AXIAL: Orientation = ((1, 0, 0), (0, 1, 0))
SAGITTAL: Orientation = ((0, 1, 0), (0, 0, -1))
CORONAL: Orientation = ((1, 0, 0), (0, 0, -1))

STORAGE = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "PT": PositronEmissionTomographyImageStorage,
    "US": UltrasoundImageStorage,
    "OT": SecondaryCaptureImageStorage,
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "MG": DigitalMammographyXRayImageStorageForPresentation,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who, when and in which series. :meth:`numbered` gives patients that share nothing."""

    patient_id: str = "PAT-0001"
    patient_name: str = "Phantom^One"
    study_uid: str = "1.2.826.0.1.3680043.8.498.1"
    series_uid: str = "1.2.826.0.1.3680043.8.498.1.1"
    frame_uid: str = "1.2.826.0.1.3680043.8.498.1.9"
    accession: str = "ACC0001"
    study_date: str = "20240131"
    sex: str = "F"
    age: str = "061Y"
    birth_date: str = "19630101"

    @classmethod
    def numbered(cls, number: int, **changes: str) -> Self:
        """Patient `number`, with one study and one series."""
        root = f"1.2.826.0.1.3680043.8.498.{number}"
        made = cls(
            patient_id=f"PAT-{number:04d}",
            patient_name=f"Phantom^N{number}",
            study_uid=root,
            series_uid=f"{root}.1",
            frame_uid=f"{root}.9",
            accession=f"ACC{number:04d}",
        )
        return replace(made, **changes)

    def another_series(self, number: int) -> Self:
        """The same study, another series."""
        return replace(self, series_uid=f"{self.study_uid}.{number}")


def make_voxels(
    shape: tuple[int, int, int], *, low: int = 0, high: int = 4000, dtype: Any = np.uint16, seed: int = 0
) -> NDArray[Any]:
    """Random stored values, so that no flip, transposition or reordering goes unseen."""
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def expected_affine(
    orientation: Orientation = AXIAL, position: Vector = (0, 0, 0), spacing: Vector = (1, 1, 1)
) -> NDArray[np.float64]:
    """(4, 4) voxel index to RAS+ millimetres, by PS3.3 equation C.7.6.2.1-1 and diag(-1, -1, 1)."""
    row, column = np.array(orientation, dtype=np.float64)
    affine = np.eye(4)
    affine[:3, 0] = row * spacing[0]
    affine[:3, 1] = column * spacing[1]
    affine[:3, 2] = np.cross(row, column) * spacing[2]
    affine[:3, 3] = position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def slice_position(orientation: Orientation, position: Vector, spacing: Vector, k: int) -> list[float]:
    """ImagePositionPatient (LPS) of slice k."""
    normal = np.cross(*np.array(orientation, dtype=np.float64))
    return [float(value) for value in np.array(position) + k * spacing[2] * normal]


def decimals(values: Sequence[float]) -> list[DSfloat]:
    """Decimal strings of at most 16 characters."""
    return [DSfloat(float(value), auto_format=True) for value in values]


def write_series(
    folder: Path,
    stored: NDArray[Any],
    *,
    orientation: Orientation = AXIAL,
    position: Vector = (0.0, 0.0, 0.0),
    spacing: Vector = (1.0, 1.0, 1.0),
    modality: str = "CT",
    slope: float | Sequence[float] | None = 1.0,
    intercept: float | Sequence[float] | None = 0.0,
    bits_stored: int | None = None,
    photometric: str = "MONOCHROME2",
    transfer_syntax: UID = ExplicitVRLittleEndian,
    instance_numbers: Sequence[int | None] | None = None,
    identity: Identity | None = None,
    part: int = 0,
    edit: Edit | None = None,
) -> list[Path]:
    """Write one file a slice; return their paths in the order of k.

    File names are in no order. `stored` is (i, j, k), or (i, j, k, 3) for colour; its type decides depth and sign.
    `slope` and `intercept` are one number, one a slice, or None for no rescale tags. `part` keeps the instances of a
    further call with the same series apart (a second echo). `edit` changes the dataset of slice k before it is written;
    for a compressed transfer syntax it sees the native pixels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    identity = identity or Identity()
    count = stored.shape[2]
    paths = []
    for k in range(count):
        dataset = make_image(stored[:, :, k], identity, modality, bits_stored, photometric, instance=f"{part}/{k}")
        dataset.ImageOrientationPatient = decimals([*orientation[0], *orientation[1]])
        dataset.ImagePositionPatient = decimals(slice_position(orientation, position, spacing, k))
        dataset.PixelSpacing = decimals([spacing[1], spacing[0]])
        dataset.SliceThickness = decimals([spacing[2]])[0]
        dataset.FrameOfReferenceUID = identity.frame_uid
        number = instance_numbers[k] if instance_numbers is not None else k + 1
        if number is not None:
            dataset.InstanceNumber = number
        if slope is not None and intercept is not None:
            dataset.RescaleSlope = decimals([slope if np.isscalar(slope) else slope[k]])[0]  # type: ignore[index]
            dataset.RescaleIntercept = decimals(
                [intercept if np.isscalar(intercept) else intercept[k]]  # type: ignore[index]
            )[0]
        if edit:
            edit(dataset, k)
        paths.append(folder / f"{_scrambled(f'{identity.series_uid}/{part}/{k}')}.dcm")
        save(dataset, paths[-1], transfer_syntax)
    return paths


def make_image(
    stored: NDArray[Any],
    identity: Identity,
    modality: str,
    bits_stored: int | None = None,
    photometric: str = "MONOCHROME2",
    *,
    instance: str = "0",
) -> Dataset:
    """One image without geometry; `stored` is (i, j), or (i, j, 3) for colour, or (i, j, frames) made by the caller."""
    samples = 3 if stored.ndim == 3 else 1
    dataset = make_object(identity, STORAGE[modality], modality, instance)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"]
    dataset.Rows, dataset.Columns = stored.shape[1], stored.shape[0]
    set_pixels(dataset, np.swapaxes(stored, 0, 1), bits_stored, photometric, samples)
    return dataset


def make_object(identity: Identity, sop_class: UID, modality: str, instance: str) -> Dataset:
    """An object of any class with patient, study and series, and no image yet."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[identity.series_uid, modality, sop_class, instance])
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.PatientID = identity.patient_id
    dataset.PatientName = identity.patient_name
    dataset.PatientBirthDate = identity.birth_date
    dataset.PatientSex = identity.sex
    dataset.PatientAge = identity.age
    dataset.StudyInstanceUID = identity.study_uid
    dataset.SeriesInstanceUID = identity.series_uid
    dataset.AccessionNumber = identity.accession
    dataset.StudyDate = identity.study_date
    dataset.StudyTime = "101112"
    dataset.Modality = modality
    dataset.Manufacturer = "Phantom Works"
    dataset.ManufacturerModelName = "Model 1"
    dataset.InstitutionName = "Phantom Hospital"
    dataset.SeriesNumber = 1
    return dataset


def set_pixels(
    dataset: Dataset, rows: NDArray[Any], bits_stored: int | None, photometric: str, samples: int = 1
) -> None:
    """Put native pixels, (rows, columns[, 3]) or (frames, rows, columns), into a dataset, little endian."""
    dataset.SamplesPerPixel = samples
    dataset.PhotometricInterpretation = photometric
    if samples > 1:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = rows.dtype.itemsize * 8
    dataset.BitsStored = bits_stored or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(rows.dtype.kind == "i")
    content = np.ascontiguousarray(rows).astype(rows.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = content + bytes(len(content) % 2)
    dataset["PixelData"].VR = "OW" if rows.dtype.itemsize > 1 else "OB"


def save(dataset: Dataset, path: Path, transfer_syntax: UID = ExplicitVRLittleEndian) -> Path:
    """Encode and write with preamble and file meta information."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if transfer_syntax == JPEG2000Lossless:
        dataset.PixelData = encapsulate(jpeg2000_frames(dataset))
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif transfer_syntax.is_compressed and not transfer_syntax.is_deflated:
        dataset.compress(transfer_syntax, generate_instance_uid=False)
    elif transfer_syntax == ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def jpeg2000_frames(dataset: Dataset) -> list[bytes]:
    """Each frame of native grey pixels as a lossless JPEG 2000 codestream of the header's depth and sign.

    The encoder takes no image of less than 32 by 32 pixels.
    """
    kind = f"<{'ui'[dataset.PixelRepresentation]}{dataset.BitsAllocated // 8}"
    size = dataset.Rows * dataset.Columns * int(dataset.get("NumberOfFrames", 1))
    frames = np.frombuffer(dataset.PixelData, kind, size).reshape(-1, dataset.Rows, dataset.Columns)
    return [bytes(openjpeg.utils.encode_array(frame, bits_stored=dataset.BitsStored)) for frame in frames]


def make_item(**values: Any) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def make_items(**values: Any) -> Items:
    return Items([make_item(**values)])


def set_text(dataset: Dataset, tag: int, vr: str, text: str) -> None:
    """Put text into an element as it stands, unchecked."""
    value = text.encode() + b" " * (len(text) % 2)
    dataset[Tag(tag)] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True, True)


def without(*keywords: str, slices: range | list[int] = range(99)) -> Edit:
    """Make an edit that deletes attributes, from these slices."""

    def edit(dataset: Dataset, k: int) -> None:
        for keyword in keywords if k in slices else ():
            delattr(dataset, keyword)

    return edit


def _scrambled(name: str) -> str:
    return generate_uid(entropy_srcs=[name])[-12:]
