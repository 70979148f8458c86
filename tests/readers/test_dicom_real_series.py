"""Real series of three vendors against a reference converter: stored voxels by digest, affine to a micrometre."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray
from phantoms.readings import Reading, read_folder
from pydicom import dcmread
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.domain.series import Series
from pipeline.domain.volume import Volume

pytestmark = pytest.mark.shared_data

MILLIMETRES = 1e-3

READ = {
    "ct_philips_axial_j2k": 1,
    "mr_ge_t1_mprage_3d_j2k": 1,
    "mr_siemens_multifragment": 1,
    "mr_philips_enhanced": 2,
    "mr_philips_dual_echo": 4,
    "mr_ge_epi_FFS": 5,
    "mr_ge_localizer_3plane": 3,
}
"""Folder, and how many volumes its series holds."""

REFUSED = {
    "ct_ge_tilt_varspacing": {Code.TILT, Code.GAP, Code.SPACING},
    "ct_philips_scout": {Code.LOCALIZER, Code.DICOMDIR},
    "mr_siemens_mosaic_sag": {Code.MOSAIC},
    "mr_siemens_mosaic_ts": {Code.MOSAIC},
}


@pytest.fixture(scope="module")
def readings(shared_data: Path) -> dict[str, Reading]:
    """Each folder, read once."""
    return {name: read_folder(shared_data / "dicom_series" / name / "In") for name in (*READ, *REFUSED)}


def outputs(shared_data: Path, name: str) -> list[dict[str, Any]]:
    """What the reference converter made of a folder."""
    text = (shared_data / "dicom_series" / name / "Ref" / "expected.json").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(text)["outputs"]
    return found


def rescales(series: Series) -> set[tuple[float, float]]:
    """Slopes and intercepts in the headers; of each frame for a multi-frame file."""
    first = dcmread(series.files[0].path, stop_before_pixels=True)
    frames = first.get("PerFrameFunctionalGroupsSequence")
    groups = [group.PixelValueTransformationSequence[0] for group in frames] if frames else [first]
    return {numbers(group) for group in groups}


def numbers(dataset: Dataset) -> tuple[float, float]:
    return float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))


def as_stored(volume: Volume, rescale: tuple[float, float], reference: dict[str, Any]) -> NDArray[Any] | None:
    """Stored voxels in the reference's axis order; None where the rescale gives no whole numbers."""
    slope, intercept = rescale
    stored = (volume.voxels[0].astype(np.float64) - intercept) / slope
    if np.abs(stored - np.round(stored)).max() > 0.01:
        return None
    turn = turning(volume, reference)
    turned: NDArray[Any] = apply_orientation(np.round(stored).astype(reference["dtype"]), turn)
    return turned


def turning(volume: Volume, reference: dict[str, Any]) -> NDArray[Any]:
    """From our axes to the reference's, as nibabel writes it."""
    turn: NDArray[Any] = ornt_transform(
        io_orientation(volume.geometry.matrix), io_orientation(np.array(reference["affine"]))
    )
    return turn


def digest(voxels: NDArray[Any]) -> str:
    return hashlib.sha256(voxels.tobytes(order="F")).hexdigest()


def check_affine(volume: Volume, reference: dict[str, Any]) -> None:
    turned = volume.geometry.matrix @ inv_ornt_aff(turning(volume, reference), volume.geometry.shape)
    np.testing.assert_allclose(turned, np.array(reference["affine"]), rtol=0, atol=MILLIMETRES)


@pytest.mark.parametrize("name", [name for name in READ if name != "mr_ge_epi_FFS"])
def test_each_volume_is_one_of_the_references(readings: dict[str, Reading], shared_data: Path, name: str) -> None:
    references = {output["voxel_sha256"]: output for output in outputs(shared_data, name)}
    reading = readings[name]
    assert len(reading.volumes) == READ[name] == len(references), reading.messages
    assert not reading.codes
    for series, volume in reading.volumes:
        found = {
            reference["voxel_sha256"]
            for rescale in rescales(series)
            for reference in references.values()
            if (stored := as_stored(volume, rescale, reference)) is not None
            and digest(stored) == reference["voxel_sha256"]
        }
        assert len(found) == 1, "the voxels are those of no reference"
        check_affine(volume, references.pop(found.pop()))
    assert not references


def test_a_time_series_is_split_into_its_volumes(readings: dict[str, Reading], shared_data: Path) -> None:
    (reference,) = outputs(shared_data, "mr_ge_epi_FFS")
    reading = readings["mr_ge_epi_FFS"]
    assert len(reading.volumes) == reference["shape"][3] == 5, reading.messages
    in_time = sorted(reading.volumes, key=lambda pair: dcmread(pair[0].files[0].path).TemporalPositionIdentifier)
    stored = [as_stored(volume, (1, 0), reference) for _, volume in in_time]
    assert digest(np.stack([voxels for voxels in stored if voxels is not None], axis=-1)) == reference["voxel_sha256"]
    for _, volume in in_time:
        check_affine(volume, reference)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_volume_is_refused(readings: dict[str, Reading], name: str) -> None:
    reading = readings[name]
    assert all(volume.is_2d for _, volume in reading.volumes)
    assert reading.codes - {Code.INCOMPLETE} <= REFUSED[name], reading.messages
    if "mosaic" in name or "tilt" in name:
        assert not reading.volumes


def test_what_differs_between_the_parts_of_a_split_series(readings: dict[str, Reading]) -> None:
    echoes = Counter(series.attributes["echo"] for series, _ in readings["mr_philips_dual_echo"].volumes)
    assert echoes == {"7.001": 2, "10": 2}


def test_vendors_and_modalities(readings: dict[str, Reading]) -> None:
    for name, reading in readings.items():
        for series, volume in reading.volumes:
            assert series.modality == volume.modality == name[:2].upper()
            assert name.split("_")[1] in series.attributes["vendor"].lower()
