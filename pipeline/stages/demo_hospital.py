"""A synthetic hospital's CT export: real DICOM files of invented patients, messy on purpose.

A scan shows an abdomen: a body of soft tissue, a liver, a spine, vessels. In about half of the patients a hypodense
sphere lies in the liver: the lesion. It is dealt out evenly over two vendors whose scanners differ in grid, noise and
sharpness, so that the vendor tells nothing about it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)
from scipy.ndimage import gaussian_filter

FIELD_OF_VIEW_MM = (144.0, 144.0, 96.0)
INTERCEPT_HU = -1024
LESION_CONTRAST_HU = -60.0
LESION_RADIUS_MM = (11.0, 16.0)
LIVER_CENTRE_MM = np.array([-22.0, 4.0, 0.0])
LIVER_RADII_MM = np.array([30.0, 34.0, 34.0])


@dataclass(frozen=True, slots=True)
class Vendor:
    """A scanner: its grid (columns, rows, slices), noise in HU, blur in voxels, and how it encodes."""

    name: str
    model: str
    shape: tuple[int, int, int]
    noise_hu: float
    blur: float
    transfer_syntax: str


VENDORS = (
    Vendor("Nordlys Medical", "Polar 64", (48, 48, 24), 14.0, 0.6, ExplicitVRLittleEndian),
    Vendor("Meridian Imaging", "Axis 16", (56, 56, 20), 20.0, 0.8, ImplicitVRLittleEndian),
)


@dataclass(frozen=True, slots=True)
class Patient:
    """An invented patient with one study."""

    number: int
    vendor: Vendor
    lesion: bool
    seed: int

    @property
    def patient_id(self) -> str:
        """Hospital number with leading zeros, as spreadsheets love to lose."""
        return f"{self.number:07d}"

    def uid(self, what: str) -> str:
        """Return a UID of this patient, the same on every run."""
        return generate_uid(entropy_srcs=["resdx demo", str(self.seed), self.patient_id, what])


def make_patients(count: int, first_number: int, seed: int) -> list[Patient]:
    """Deal vendor and lesion in every combination, so that they are independent."""
    patients = []
    for index in range(count):
        vendor, lesion = VENDORS[index % 2], (index // 2) % 2 == 1
        patients.append(Patient(first_number + index, vendor, lesion, seed))
    return patients


def write_scans(folder: Path, patients: Sequence[Patient], seed: int) -> dict[str, list[Path]]:
    """Write all studies under shuffled names in numbered folders; return the files of each patient, head to foot."""
    random = np.random.default_rng(seed)
    return {
        patient.patient_id: write_study(folder / f"{index // 8:03d}", patient, random)
        for index, patient in enumerate(patients)
    }


def write_study(folder: Path, patient: Patient, random: np.random.Generator) -> list[Path]:
    """Write one CT series, a file a slice, and return the files in the order of their positions."""
    folder.mkdir(parents=True, exist_ok=True)
    voxels = draw_abdomen(patient)
    names = [f"{int(random.integers(0, 2**63)):016x}" for _ in range(voxels.shape[2])]
    files = []
    for k, name in enumerate(names):
        path = folder / name
        make_slice(patient, voxels[:, :, k], k).save_as(path, enforce_file_format=True)
        files.append(path)
    return files


def draw_abdomen(patient: Patient) -> NDArray[np.int16]:
    """Voxels (i, j, k) in Hounsfield units; i to the patient's left, j to the back, k to the head."""
    random = np.random.default_rng([patient.seed, patient.number])
    x, y, z = _grid(patient.vendor)
    hu = np.full(patient.vendor.shape, -1000.0)
    body = random.uniform(0.92, 1.05)
    hu[(x / (64 * body)) ** 2 + (y / (48 * body)) ** 2 <= 1] = 35.0
    hu[(x**2 + (y - 32) ** 2) <= 9.0**2] = 320.0
    centre = LIVER_CENTRE_MM + random.uniform(-4, 4, 3)
    liver = sum(((axis - c) / r) ** 2 for axis, c, r in zip((x, y, z), centre, LIVER_RADII_MM, strict=True)) <= 1
    hu[liver] = 65.0 + random.uniform(-5, 5)
    for _ in range(4):
        vessel = centre + random.uniform(-20, 20, 3)
        hu[liver & ((x - vessel[0]) ** 2 + (y - vessel[1]) ** 2 <= random.uniform(2, 4) ** 2)] += 35.0
    radius = random.uniform(*LESION_RADIUS_MM)
    offset = random.uniform(-1, 1, 3) * (LIVER_RADII_MM - radius) * 0.6
    if patient.lesion:
        lx, ly, lz = centre + offset
        hu[liver & ((x - lx) ** 2 + (y - ly) ** 2 + (z - lz) ** 2 <= radius**2)] += LESION_CONTRAST_HU
    hu = gaussian_filter(hu, patient.vendor.blur) + random.normal(0, patient.vendor.noise_hu, hu.shape)
    return np.clip(np.round(hu), -1024, 3071).astype(np.int16)


def spacing_of(vendor: Vendor) -> tuple[float, float, float]:
    """Millimetres between voxel centres along i, j, k."""
    i, j, k = (extent / count for extent, count in zip(FIELD_OF_VIEW_MM, vendor.shape, strict=True))
    return i, j, k


def _grid(vendor: Vendor) -> tuple[NDArray[np.float64], ...]:
    axes = [(np.arange(n) - (n - 1) / 2) * step for n, step in zip(vendor.shape, spacing_of(vendor), strict=True)]
    return tuple(np.meshgrid(*axes, indexing="ij"))


def make_slice(patient: Patient, pixels: NDArray[np.int16], k: int) -> Dataset:
    """One CT image (PS3.3 A.3) of a series; `pixels` (i, j) in HU."""
    di, dj, dk = spacing_of(patient.vendor)
    image = _headers(patient, f"slice {k}")
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.SeriesInstanceUID, image.SeriesNumber = patient.uid("series"), 2
    image.SeriesDescription, image.InstanceNumber = "ABDOMEN 1.0 B30", k + 1
    image.PixelSpacing, image.SliceThickness = [round(dj, 6), round(di, 6)], round(dk, 6)
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.ImagePositionPatient = [
        round(-FIELD_OF_VIEW_MM[0] / 2, 4),
        round(-FIELD_OF_VIEW_MM[1] / 2, 4),
        round(k * dk, 4),
    ]
    _set_pixels(image, pixels)
    return image


def make_scout(patient: Patient) -> Dataset:
    """Make the localizer of a study: a series of one coronal projection."""
    voxels = draw_abdomen(patient)
    di, _, dk = spacing_of(patient.vendor)
    image = _headers(patient, "scout")
    image.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    image.SeriesInstanceUID, image.SeriesNumber = patient.uid("scout series"), 1
    image.SeriesDescription, image.InstanceNumber = "SCOUT", 1
    image.PixelSpacing, image.SliceThickness = [round(dk, 6), round(di, 6)], 1.0
    image.ImageOrientationPatient, image.ImagePositionPatient = [1, 0, 0, 0, 0, -1], [-72.0, 0.0, 96.0]
    _set_pixels(image, voxels.mean(axis=1).astype(np.int16)[:, ::-1])
    return image


def make_report(patient: Patient) -> Dataset:
    """Make a basic text report (PS3.3 A.35.1), as archives keep among the images."""
    report = _headers(patient, "report")
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    report.Modality, report.SeriesInstanceUID = "SR", patient.uid("report series")
    report.CompletionFlag, report.VerificationFlag, report.ValueType = "COMPLETE", "UNVERIFIED", "CONTAINER"
    return report


def tilted(patient: Patient, degrees: float = 12.0) -> Iterator[Dataset]:
    """Slices of a study whose gantry was tilted: oblique slices stacked straight along z."""
    voxels = draw_abdomen(patient)
    angle = np.deg2rad(degrees)
    for k in range(voxels.shape[2]):
        image = make_slice(patient, voxels[:, :, k], k)
        image.ImageOrientationPatient = [1, 0, 0, 0, round(float(np.cos(angle)), 6), round(float(-np.sin(angle)), 6)]
        yield image


def _headers(patient: Patient, what: str) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = UID(patient.vendor.transfer_syntax)
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = UID(patient.uid(what))
    random = np.random.default_rng([patient.seed, patient.number, 1])
    image.PatientID, image.PatientName = patient.patient_id, f"Demo^Patient {patient.number}"
    image.PatientAge, image.PatientSex = f"{random.integers(30, 85):03d}Y", "FM"[random.integers(2)]
    image.PatientBirthDate = ""
    image.StudyInstanceUID, image.StudyID = patient.uid("study"), str(patient.number)
    image.StudyDate, image.StudyTime = f"2024{1 + patient.number % 12:02d}15", "101500"
    image.AccessionNumber, image.ReferringPhysicianName = f"A{patient.number:07d}", ""
    image.Modality, image.Manufacturer = "CT", patient.vendor.name
    image.ManufacturerModelName, image.InstitutionName = patient.vendor.model, "Demo General Hospital"
    image.BodyPartExamined, image.PatientPosition = "ABDOMEN", "HFS"
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = patient.uid("frame"), ""
    image.KVP, image.AcquisitionNumber = "120", 1
    return image


def _set_pixels(image: Dataset, pixels: NDArray[np.int16]) -> None:
    image.Columns, image.Rows = pixels.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = INTERCEPT_HU, 1, "HU"
    stored = np.ascontiguousarray(pixels.T).astype(np.int32) - INTERCEPT_HU
    image.PixelData = np.clip(stored, 0, 4095).astype("<u2").tobytes()
