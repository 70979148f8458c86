"""What a reviewer is told where values, or what they are shown by, are not what they seem; and other contradictions."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import AXIAL, Edit, Identity, expected_affine, make_voxels, without, write_series
from phantoms.niftis import nifti
from phantoms.readings import assert_refused, assert_right, read_folder
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedPETImageStorage

from pipeline.domain.codes import Code
from pipeline.readers.dicom.output_units import NO_UNIT_NOTE
from pipeline.readers.dicom.planar import POLARITY_NOTE
from pipeline.readers.options import ReadOptions

SHAPE = (6, 5, 4)
VOXELS = make_voxels(SHAPE)


def setting(**values: Any) -> Edit:
    def edit(dataset: Dataset, k: int) -> None:
        for keyword, value in values.items():
            setattr(dataset, keyword, value)

    return edit


@pytest.mark.parametrize(
    ("modality", "slope", "values", "note"),
    [
        pytest.param("CT", None, {}, NO_UNIT_NOTE, id="CT without rescale"),
        pytest.param("CT", 1.0, {}, "", id="CT"),
        pytest.param("CT", 1.0, {"RescaleType": "HU"}, "", id="CT in HU"),
        pytest.param("CT", 1.0, {"RescaleType": "Z_EFF"}, "RescaleType is Z_EFF", id="effective atomic number"),
        pytest.param("CT", 1.0, {"RescaleType": "DOE^JANE"}, "RescaleType is no defined term", id="a name"),
        pytest.param("PT", 1.0, {"Units": "BQML"}, "", id="PET"),
        pytest.param("PT", 1.0, {"Units": "CNTS"}, "Units is CNTS", id="PET in counts"),
        pytest.param("PT", 1.0, {}, "Units is missing", id="PET in nothing"),
        pytest.param("MR", None, {}, "", id="MR has no unit"),
    ],
)
def test_values_in_another_unit_are_noted(
    tmp_path: Path, modality: str, slope: float | None, values: dict[str, Any], note: str
) -> None:
    write_series(tmp_path, VOXELS, modality=modality, slope=slope, edit=setting(**values))
    volume = read_folder(tmp_path).volume
    assert_right(volume, (VOXELS, expected_affine(AXIAL)))
    assert any(note in told for told in volume.notes) if note else not volume.notes
    assert "DOE" not in str(volume.notes)


@pytest.mark.parametrize(("units", "note"), [("BQML", ""), ("CNTS", "Units is CNTS"), ("", "Units is missing")])
def test_an_enhanced_pet_has_its_units_beside_its_frames(tmp_path: Path, units: str, note: str) -> None:
    def as_pet(dataset: Dataset) -> None:
        dataset.Modality = "PT"
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedPETImageStorage
        if units:
            dataset.Units = units

    write_enhanced(tmp_path / "a.dcm", make_frames(VOXELS), edit=as_pet)
    notes = read_folder(tmp_path).volume.notes
    assert [note in one for one in notes] == [True] * bool(note)


def test_frames_of_two_units_are_no_volume(tmp_path: Path) -> None:
    def other_type(dataset: Dataset) -> None:
        shared = dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
        for k, group in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            group.PixelValueTransformationSequence = copy.deepcopy(shared)
            group.PixelValueTransformationSequence[0].RescaleType = "HU" if k < 2 else "Z_EFF"
        del dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence

    write_enhanced(tmp_path / "a.dcm", make_frames(VOXELS), modality="CT", edit=other_type)
    assert_refused(read_folder(tmp_path), Code.MIXED)


@pytest.mark.parametrize(
    ("photometric", "shape", "is_noted"),
    [("MONOCHROME2", "INVERSE", True), ("MONOCHROME2", "IDENTITY", False), ("MONOCHROME1", "INVERSE", False)],
)
def test_a_contradiction_about_what_is_bright_is_noted(
    tmp_path: Path, photometric: str, shape: str, is_noted: bool
) -> None:
    edit = lambda dataset: setattr(dataset, "PresentationLUTShape", shape)  # noqa: E731
    write_radiograph(tmp_path / "a.dcm", VOXELS[:, :, 0], photometric=photometric, edit=edit)
    volume = read_folder(tmp_path).volume
    stored = VOXELS[:, :, 0].astype(float)
    np.testing.assert_array_equal(volume.voxels[0, ..., 0], stored if photometric == "MONOCHROME2" else 65535 - stored)
    assert (POLARITY_NOTE in volume.notes) == is_noted


@pytest.mark.parametrize(("ratio", "is_noted"), [([2, 1], True), ([1, 1], False), ([3, 3], False)])
def test_pixels_that_are_no_squares_are_noted(tmp_path: Path, ratio: list[int], is_noted: bool) -> None:
    edit = lambda dataset: setattr(dataset, "PixelAspectRatio", ratio)  # noqa: E731
    write_radiograph(tmp_path / "a.dcm", VOXELS[:, :, 0], modality="US", spacing=None, edit=edit)
    assert any("no squares" in note for note in read_folder(tmp_path).volume.notes) == is_noted


@pytest.mark.parametrize("thickness", ["0.5", "0.6", "1.0"])
def test_slices_far_apart_are_noted(tmp_path: Path, thickness: str) -> None:
    write_series(tmp_path, VOXELS, edit=setting(SliceThickness=thickness))
    volume = read_folder(tmp_path).volume
    assert_right(volume, (VOXELS, expected_affine(AXIAL)))
    assert any("was not seen" in note for note in volume.notes) == (thickness == "0.5")


@pytest.mark.parametrize(
    ("tag", "vr", "value", "creator"),
    [
        pytest.param(0x0019100A, "US", 16, "SIEMENS MR HEADER", id="Siemens"),
        pytest.param(0x0019100A, "UN", b"\x10\x00", "SIEMENS MR HEADER", id="Siemens, type lost"),
        pytest.param(0x00651050, "DS", "16", "Image Private Header", id="UIH"),
        pytest.param(0x00651050, "UN", b"16", "Image Private Header", id="UIH, type lost"),
    ],
)
@pytest.mark.parametrize("count", ["many", "one"])
def test_tiles_are_told_by_the_private_element_alone(
    tmp_path: Path, tag: int, vr: str, value: Any, creator: str, count: str
) -> None:
    """De-identified exports keep ORIGINAL\\PRIMARY of ImageType and lose the rest."""
    alone = {16: 1, "16": "1", b"16": b"1 ", b"\x10\x00": b"\x01\x00"}[value]

    def edit(dataset: Dataset, k: int) -> None:
        dataset.ImageType = ["ORIGINAL", "PRIMARY"]
        dataset.add_new(tag >> 16 << 16 | 0x10, "LO", creator)
        dataset.add_new(tag, vr, value if count == "many" else alone)

    write_series(tmp_path, VOXELS, modality="MR", edit=edit)
    if count == "many":
        assert_refused(read_folder(tmp_path), Code.MOSAIC)
    else:
        assert_right(read_folder(tmp_path).volume, (VOXELS, expected_affine(AXIAL)))


@pytest.mark.parametrize("lost", [[1], [3]], ids=["in the middle", "at the end"])
def test_a_slice_that_lost_its_study_does_not_shorten_the_volume(tmp_path: Path, lost: list[int]) -> None:
    write_series(tmp_path, VOXELS, edit=without("StudyInstanceUID", slices=lost))
    assert_refused(read_folder(tmp_path), Code.BAD_HEADER)


def test_a_series_without_any_study_is_read_beside_others(tmp_path: Path) -> None:
    write_series(tmp_path / "a", VOXELS, edit=without("StudyInstanceUID"))
    write_series(tmp_path / "b", VOXELS, identity=Identity.numbered(7))
    assert len(read_folder(tmp_path).volumes) == 2


@pytest.mark.parametrize(
    ("pixdim", "is_noted"),
    [((1, 2, 1.5, 3), False), ((1, 2.01, 1.5, 3), False), ((1, 1, 1, 1), True), ((1, 0, 0, 0), False)],
)
def test_a_nifti_whose_pixdim_is_another_is_noted(tmp_path: Path, pixdim: tuple[float, ...], is_noted: bool) -> None:
    (tmp_path / "a.nii").write_bytes(nifti(pixdim=(*pixdim, 1, 1, 1, 1)))
    volume = read_folder(tmp_path, ReadOptions(modality="MR")).volume
    assert volume.geometry.spacing == pytest.approx((2.0, 1.5, 3.0))
    assert any("pixdim says" in note for note in volume.notes) == is_noted


def test_a_frame_of_reference_for_every_slice_is_no_series_of_single_images(tmp_path: Path) -> None:
    """Careless anonymisers make each UID anew."""

    def anew(dataset: Dataset, k: int) -> None:
        dataset.FrameOfReferenceUID = f"1.2.826.0.1.3680043.8.498.1.{k}"

    write_series(tmp_path, VOXELS, edit=anew)
    assert_refused(read_folder(tmp_path), Code.BAD_VALUE)
