"""What independent readers make of a file: DICOM's formulas over pydicom, SimpleITK (GDCM), nibabel, imagecodecs."""

import gzip
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import imagecodecs
import nibabel
import numpy as np
import openjpeg
import SimpleITK
from fuzzing.dicom_bytes import DicomBytes
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import generate_frames
from pydicom.multival import MultiValue
from pydicom.pixels import apply_modality_lut, pixel_array
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
    SecondaryCaptureImageStorage,
)

PIXEL_ATTRIBUTES = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
)
CHARACTER_SET = 0x00080005
PROJECTIONS = ("CR", "DX", "MG", "RF", "XA", "IO", "PX")
"""Modalities that are measured at the detector (PS3.3 10.7.1.1)."""

Vector = NDArray[np.float64]
TO_RAS = np.array([-1.0, -1.0, 1.0])
METRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


class Frame(NamedTuple):
    """One image of a file.

    Attributes
    ----------
    pixels : ndarray, shape (rows, columns) or (rows, columns, 3), or str
        In output units; or why they cannot be decoded.
    origin : ndarray, shape (3,), or None
        Centre of the first pixel, RAS+, mm; None: the image has no place.
    across, down : ndarray, shape (3,), or None
        From one pixel to the next along a row, and along a column, RAS+, mm; None: the image has no scale.
    thickness : float or None
    """

    pixels: NDArray[Any] | str
    origin: Vector | None
    across: Vector | None
    down: Vector | None
    thickness: float | None = None


def by_pydicom(files: Mapping[str, bytes]) -> list[Frame]:
    """Every frame of DICOM files, by the formulas of PS3.3 C.7.6.2 and C.11.1 over what pydicom parses and decodes."""
    return [frame for content in files.values() for frame in _of_pydicom(content)]


def by_simpleitk(files: Mapping[str, bytes]) -> list[Frame]:
    """Every frame of DICOM files, as GDCM has it. It takes 1 mm where there is no spacing, 0 where no place."""
    return [frame for content in files.values() for frame in _of_simpleitk(content)]


@lru_cache(maxsize=256)
def _of_pydicom(content: bytes) -> tuple[Frame, ...]:
    try:
        dataset = dcmread(BytesIO(content), force=True)
    except TypeError:  # a character set that is no text stops pydicom; nothing here is text
        file = DicomBytes.parse(content)
        for element in file.named([CHARACTER_SET]):
            file = file.with_value(element, b"")
        dataset = dcmread(BytesIO(file.join()), force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return tuple(_frames(dataset))


@lru_cache(maxsize=256)
def _of_simpleitk(content: bytes) -> tuple[Frame, ...]:
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    with NamedTemporaryFile(suffix=".dcm") as file:
        file.write(content)
        file.flush()
        return tuple(_planes(SimpleITK.ReadImage(file.name, imageIO="GDCMImageIO")))


def volume_by_nibabel(content: bytes) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels (i, j, k) and affine, mm, of a NIfTI file, gzipped or not."""
    whole = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    version = nibabel.Nifti2Image if whole[4:8] == b"n+2\0" else nibabel.Nifti1Image
    image = version.from_bytes(whole)
    scale = METRES[int(image.header["xyzt_units"]) & 7]
    affine = np.diag([scale, scale, scale, 1.0]) @ image.affine
    with np.errstate(all="ignore"):
        return np.asarray(image.get_fdata()), affine


def volume_by_simpleitk(content: bytes) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Voxels and affine of a NIfTI file, as ITK has them."""
    with NamedTemporaryFile(suffix=".nii.gz" if content[:2] == b"\x1f\x8b" else ".nii") as file:
        file.write(content)
        file.flush()
        image = SimpleITK.ReadImage(file.name, imageIO="NiftiImageIO")
    affine = np.eye(4)
    steps = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, :3], affine[:3, 3] = steps * TO_RAS[:, np.newaxis], np.array(image.GetOrigin()) * TO_RAS
    return SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), affine


def picture(content: bytes) -> NDArray[Any]:
    """Samples (rows, columns) or (rows, columns, channels) of a PNG or JPEG."""
    decode: Callable[[bytes], Any] = imagecodecs.png_decode if content[:1] == b"\x89" else imagecodecs.jpeg8_decode
    return np.asarray(decode(content))


def _planes(image: SimpleITK.Image) -> Iterator[Frame]:
    array = SimpleITK.GetArrayFromImage(image)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    spacing = image.GetSpacing()
    for k in range(image.GetSize()[2]):
        origin = np.array(image.TransformIndexToPhysicalPoint((0, 0, k))) * TO_RAS
        yield Frame(array[k], origin, TO_RAS * direction[:, 0] * spacing[0], TO_RAS * direction[:, 1] * spacing[1])


def _frames(dataset: Dataset) -> Iterator[Frame]:
    colour = int(dataset.SamplesPerPixel) == 3
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    for number in range(int(dataset.get("NumberOfFrames") or 1)):
        places = [groups[number], *dataset.get("SharedFunctionalGroupsSequence", [])] if groups else []
        values: NDArray[Any] | str
        try:
            image = _decoded(dataset, number)
            if dataset.PhotometricInterpretation == "PALETTE COLOR":
                values = _looked_up(image, dataset)
            else:
                values = image.astype(np.float64) if colour else _output(image, dataset, places)
        except Exception as error:  # noqa: BLE001 - another oracle may know its pixels
            values = f"{type(error).__name__} {error}"[:200]
        yield Frame(values, *_place(dataset, places))


def _decoded(dataset: Dataset, number: int) -> NDArray[Any]:
    """Stored pixels of a frame, also of what pydicom has no decoder for here."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in (JPEGLossless, JPEGLosslessSV1, JPEGExtended12Bit):
        return _by_gdcm(dataset)[number]
    if syntax in (HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL, JPEG2000, JPEG2000Lossless):
        streams = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)))
        return np.asarray(openjpeg.decode(streams[number]))
    if not syntax.is_encapsulated or (syntax == RLELossless and dataset.SamplesPerPixel == 1):
        bits, bare = dataset.BitsAllocated, _bare(dataset)
        bare.BitsStored, bare.HighBit, bare.PixelRepresentation = bits, bits - 1, 0
        return pixel_array(bare, index=number)  # whole cells: pydicom masks the upper bits, wherever HighBit is
    return pixel_array(dataset, index=number)


def _by_gdcm(dataset: Dataset) -> NDArray[Any]:
    """Stored pixels (frames, rows, columns) of a file with nothing but its pixels, which no header can spoil."""
    bare = _bare(dataset)
    bare["PixelData"].is_undefined_length = True
    with NamedTemporaryFile(suffix=".dcm") as file:
        bare.save_as(file, enforce_file_format=True)
        file.flush()
        return np.asarray(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file.name, imageIO="GDCMImageIO")))


def _bare(dataset: Dataset) -> Dataset:
    bare = Dataset()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    bare.SOPClassUID = bare.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    bare.SOPInstanceUID = bare.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    for keyword in PIXEL_ATTRIBUTES:
        if keyword in dataset:
            setattr(bare, keyword, dataset[keyword].value)
    bare["PixelData"].VR = dataset["PixelData"].VR
    return bare


def _looked_up(index: NDArray[Any], dataset: Dataset) -> NDArray[np.float64]:
    """RGB of 8 bits by palettes of 16 bits (PS3.3 C.7.6.3.1.5), nearest entries beyond their ends."""
    channels = []
    for colour in ("Red", "Green", "Blue"):
        count, first, bits = (int(value) for value in dataset[f"{colour}PaletteColorLookupTableDescriptor"].value)
        content = dataset[f"{colour}PaletteColorLookupTableData"].value
        entries = np.frombuffer(content, "<u2" if dataset.original_encoding[1] else ">u2").astype(np.float64)
        assert (bits, len(entries)) == (16, count)
        channels.append(entries[np.clip(_values(index, dataset) - first, 0, count - 1)] / 257)
    return np.stack(channels, axis=-1)


def _values(stored: NDArray[Any], dataset: Dataset) -> NDArray[np.int64]:
    """Numbers in the bits that hold them (PS3.5 8.1.1), with their sign."""
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
    high = bits - 1 if dataset.get("HighBit") in (None, "") else int(dataset.HighBit)
    cells = (stored.astype(np.int64) >> (high + 1 - bits)) & ((1 << bits) - 1)
    return np.where(cells >= 1 << (bits - 1), cells - (1 << bits), cells) if signed else cells


def _output(stored: NDArray[Any], dataset: Dataset, places: Sequence[Dataset]) -> NDArray[np.float64]:
    """Values in output units (PS3.3 C.11.1); MONOCHROME1 is mirrored first, so that larger is brighter."""
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
    values = _values(stored, dataset)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = (-1 if signed else (1 << bits) - 1) - values
    if "ModalityLUTSequence" in dataset:
        return np.asarray(apply_modality_lut(values, dataset), np.float64)
    holder = _within(places, "PixelValueTransformationSequence") or dataset
    slope, intercept = holder.get("RescaleSlope"), holder.get("RescaleIntercept")
    return values * (1.0 if slope is None else float(slope)) + (0.0 if intercept is None else float(intercept))


def _place(dataset: Dataset, places: Sequence[Dataset]) -> tuple[Vector | None, Vector | None, Vector | None, Any]:
    measures = _within(places, "PixelMeasuresSequence") or dataset
    spacing = _floats(measures, "PixelSpacing", 2)
    if spacing is None and dataset.get("Modality") in PROJECTIONS:
        spacing = _floats(dataset, "ImagerPixelSpacing", 2)
    position = _floats(_within(places, "PlanePositionSequence") or dataset, "ImagePositionPatient", 3)
    orientation = _floats(_within(places, "PlaneOrientationSequence") or dataset, "ImageOrientationPatient", 6)
    thickness = _floats(measures, "SliceThickness", 1)
    if spacing is None:
        return None, None, None, None
    if position is None or orientation is None:
        return None, np.array([spacing[1], 0, 0]), np.array([0, spacing[0], 0]), None
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    return (
        np.array(position) * TO_RAS,
        row * spacing[1] * TO_RAS,
        column * spacing[0] * TO_RAS,
        thickness[0] if thickness else None,
    )


def _within(places: Sequence[Dataset], keyword: str) -> Dataset | None:
    return next((place[keyword].value[0] for place in places if place.get(keyword)), None)


def _floats(dataset: Dataset, keyword: str, count: int) -> list[float] | None:
    value = dataset.get(keyword)
    if value is None or value == "":
        return None
    found = [float(part) for part in (value if isinstance(value, MultiValue) else [value])]
    return found if len(found) == count else None
