"""DICOM files beside the series of slices: radiographs, reports and other companions, an index, a truncated file."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phantoms.dicom_series import Identity, decimals, make_image, make_items, make_object, save, set_pixels
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid


def write_radiograph(
    path: Path,
    stored: NDArray[Any],
    *,
    modality: str = "DX",
    spacing: tuple[float, float] | None = (0.2, 0.1),
    spacing_tag: str = "ImagerPixelSpacing",
    laterality: str = "L",
    view: str = "PA",
    photometric: str = "MONOCHROME2",
    bits_stored: int | None = None,
    transfer_syntax: UID = ExplicitVRLittleEndian,
    identity: Identity | None = None,
    instance: str = "0",
    edit: Callable[[Dataset], None] | None = None,
) -> Path:
    """Write a projection image (i, j), spaced (di, dj) at `spacing_tag`, without position and orientation."""
    dataset = make_image(stored, identity or Identity(), modality, bits_stored, photometric, instance=instance)
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.InstanceNumber = 1
    dataset.ImageLaterality = laterality
    dataset.ViewPosition = view
    dataset.PatientOrientation = ["L", "F"]
    if spacing:
        setattr(dataset, spacing_tag, decimals([spacing[1], spacing[0]]))
    if edit:
        edit(dataset)
    return save(dataset, path, transfer_syntax)


def write_encapsulated(
    path: Path, native: NDArray[Any], pixels: bytes, syntax: UID, photometric: str, **header: Any
) -> None:
    """An ultrasound still whose header is that of `native` and whose one frame is `pixels`."""
    dataset = make_image(native, Identity(), "US", photometric=photometric)
    dataset.PixelData = encapsulate([pixels])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)


COMPANIONS = {
    "SR": ("1.2.840.10008.5.1.4.1.1.88.11", "SR"),
    "PR": ("1.2.840.10008.5.1.4.1.1.11.1", "PR"),
    "KO": ("1.2.840.10008.5.1.4.1.1.88.59", "KO"),
    "RTSTRUCT": ("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"),
    "SEG": ("1.2.840.10008.5.1.4.1.1.66.4", "SEG"),
}


def write_companion(path: Path, kind: str, *, identity: Identity | None = None, same_series: bool = False) -> Path:
    """Write an object that accompanies images and is none (or, SEG, no scan): SR, PR, KO, RTSTRUCT, SEG."""
    identity = identity or Identity()
    if not same_series:
        identity = identity.another_series(77)
    sop_class, modality = COMPANIONS[kind]
    dataset = make_object(identity, UID(sop_class), modality, kind)
    dataset.InstanceNumber = 1
    if kind == "SEG":
        dataset.Rows = dataset.Columns = 8
        dataset.NumberOfFrames = 2
        set_pixels(dataset, np.ones((2, 8, 8), np.uint8), None, "MONOCHROME2")
        dataset.SegmentationType = "FRACTIONAL"
    return save(dataset, path)


def write_dicomdir(path: Path, referenced: Sequence[str] = ("..", "..", "OUTSIDE")) -> Path:
    """Write the index of a medium whose one record points to `referenced`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.1.3.10")
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["dicomdir"])
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.FileSetID = "PHANTOM"
    dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    dataset.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    dataset.FileSetConsistencyFlag = 0
    dataset.DirectoryRecordSequence = make_items(
        OffsetOfTheNextDirectoryRecord=0,
        RecordInUseFlag=0xFFFF,
        OffsetOfReferencedLowerLevelDirectoryEntity=0,
        DirectoryRecordType="IMAGE",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ".." is no code string, which is the point
        dataset.DirectoryRecordSequence[0].ReferencedFileID = list(referenced)
    return save(dataset, path)


def truncate(path: Path, missing: int) -> Path:
    """Cut the last `missing` bytes off a file."""
    path.write_bytes(path.read_bytes()[:-missing])
    return path


def ultrasound_region(delta_x: float, delta_y: float) -> Any:
    """SequenceOfUltrasoundRegions of one region, in centimetres a pixel."""
    return make_items(
        RegionSpatialFormat=1,
        RegionDataType=1,
        RegionFlags=0,
        RegionLocationMinX0=0,
        RegionLocationMinY0=0,
        RegionLocationMaxX1=5,
        RegionLocationMaxY1=4,
        PhysicalUnitsXDirection=3,
        PhysicalUnitsYDirection=3,
        PhysicalDeltaX=delta_x,
        PhysicalDeltaY=delta_y,
    )
