"""No slice, stack or pixel is dropped in silence, and no odd header stops a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import AXIAL, Vector, expected_affine, make_voxels, set_text, write_series
from phantoms.readings import assert_all_right, assert_refused, read_folder
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pipeline.domain.codes import Code
from pipeline.domain.series import Series
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions

SHAPE = (6, 5, 10)
SPACING: Vector = (1.0, 1.0, 1.0)
AFFINE = expected_affine(AXIAL, (0.0, 0.0, 0.0), SPACING)


def test_kinds_within_kinds_are_told_apart_down_to_the_last(tmp_path: Path) -> None:
    """Two image types share positions, and in each two inversion times alternate from slice to slice."""
    magnitude, phase = make_voxels(SHAPE, seed=1), make_voxels(SHAPE, seed=2)
    for part, (voxels, kind) in enumerate(((magnitude, "M"), (phase, "P"))):

        def edit(dataset: Dataset, k: int, kind: str = kind) -> None:
            dataset.ImageType = ["ORIGINAL", "PRIMARY", kind]
            dataset.InversionTime = 100 + 100 * (k % 2)

        write_series(tmp_path / kind, voxels, modality="MR", part=part, edit=edit)

    reading = read_folder(tmp_path)

    wider = expected_affine(AXIAL, (0.0, 0.0, 0.0), (1.0, 1.0, 2.0))
    shifted = expected_affine(AXIAL, (0.0, 0.0, 1.0), (1.0, 1.0, 2.0))
    truths = [(voxels[:, :, k::2], (wider, shifted)[k]) for voxels in (magnitude, phase) for k in (0, 1)]
    assert_all_right(reading, truths)


def test_a_stack_of_a_file_that_is_refused_keeps_its_row(tmp_path: Path) -> None:
    whole, gapped = make_voxels(SHAPE, seed=1), make_voxels(SHAPE, seed=2)
    frames = make_frames(whole, echo_time=10.0)
    others = make_frames(gapped, echo_time=20.0)
    write_enhanced(tmp_path / "a.dcm", [*frames, *others[:4], *others[5:]])

    reading = read_folder(tmp_path)

    assert_all_right(reading, [(whole, AFFINE)])
    assert [refusal.code for refusal in reading.discovery.refusals] == [Code.GAP]


def padded(dataset: Dataset, k: int) -> None:
    dataset.ImageComments = "x" * 9000


def test_different_images_are_no_copies_where_they_are_deflated(tmp_path: Path) -> None:
    for part in (0, 1):
        voxels = make_voxels(SHAPE, seed=part)
        syntax = DeflatedExplicitVRLittleEndian
        write_series(tmp_path / str(part), voxels, part=part, edit=padded, transfer_syntax=syntax)
    assert_refused(read_folder(tmp_path), Code.AMBIGUOUS)


def test_copies_are_copies_where_they_are_deflated(tmp_path: Path) -> None:
    voxels = make_voxels(SHAPE)
    for part in (0, 1):
        write_series(
            tmp_path / str(part), voxels, part=part, edit=padded, transfer_syntax=DeflatedExplicitVRLittleEndian
        )
    reading = read_folder(tmp_path)
    assert_all_right(reading, [(voxels, AFFINE)])
    assert [refusal.code for refusal in reading.discovery.refusals] == [Code.DUPLICATE] * SHAPE[2]


def test_copies_are_not_inflated_beyond_the_limit_that_is_set(tmp_path: Path) -> None:
    for part in (0, 1):
        write_series(
            tmp_path / str(part),
            make_voxels(SHAPE),
            part=part,
            edit=padded,
            transfer_syntax=DeflatedExplicitVRLittleEndian,
        )
    options = ReadOptions(max_bytes=5000)
    assert max(path.stat().st_size for path in tmp_path.rglob("*.dcm")) < options.max_bytes < 9000
    assert_refused(read_folder(tmp_path, options), Code.AMBIGUOUS)


def test_images_are_not_inflated_beyond_the_limit_that_is_set(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_radiograph(
            tmp_path / f"{name}.dcm",
            make_voxels((6, 5, 1))[:, :, 0],
            instance=name,
            edit=lambda dataset: padded(dataset, 0),
            transfer_syntax=DeflatedExplicitVRLittleEndian,
        )
    found = discover(tmp_path, ReadOptions(max_bytes=5000))
    assert not found.refusals and len(found.series) == 2
    assert [one.code for one in discover(tmp_path, ReadOptions()).refusals] == [Code.DUPLICATE]


def test_a_rescale_at_the_top_of_a_multiframe_file_counts(tmp_path: Path) -> None:
    def edit(dataset: Dataset) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1024"

    voxels = make_voxels(SHAPE)
    write_enhanced(tmp_path / "a.dcm", make_frames(voxels, slope=None, intercept=None), modality="CT", edit=edit)
    assert_all_right(read_folder(tmp_path), [(voxels * 2.0 - 1024, AFFINE)])


def halve_rows(dataset: Dataset, k: int) -> None:
    dataset.Rows = 3


def test_pixels_that_the_header_does_not_speak_of_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, make_voxels((5, 6, 4)) + 1, edit=halve_rows)
    assert_refused(read_folder(tmp_path), Code.BAD_PIXELS)


def test_one_slice_without_frame_of_reference_does_not_cut_the_volume(tmp_path: Path) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        if k == SHAPE[2] - 1:
            del dataset.FrameOfReferenceUID

    write_series(tmp_path, make_voxels(SHAPE), edit=edit)
    assert_refused(read_folder(tmp_path), Code.BAD_VALUE)


def keys_by_voxels(folder: Path) -> dict[bytes, str]:
    found: dict[bytes, Series] = {one.files[0].sha256.encode(): one for one in discover(folder, ReadOptions()).series}
    return {digest: one.key for digest, one in found.items()}


def test_names_of_files_do_not_name_series(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        path = write_radiograph(tmp_path / f"{name}.dcm", make_voxels((6, 5, 1), seed=number)[:, :, 0])
        dataset = dcmread(path)
        dataset.SOPInstanceUID = f"1.2.3.{number + 1}"
        dataset.save_as(path)
    before = keys_by_voxels(tmp_path)
    (tmp_path / "a.dcm").rename(tmp_path / "c.dcm")
    assert len(before) == 2 and keys_by_voxels(tmp_path) == before


def odd_rows(dataset: Dataset) -> None:
    set_text(dataset, 0x00280010, "LO", "6.0")


def odd_sequence(dataset: Dataset) -> None:
    set_text(dataset, 0x00283000, "LO", "no sequence")


def odd_age(dataset: Dataset) -> None:
    set_text(dataset, 0x00101010, "AS", "\u00b2\u00b2\u00b2Y")


def tiny_spacing(dataset: Dataset) -> None:
    set_text(dataset, 0x00280030, "DS", "1e-9\\1e-9")


def far_position(dataset: Dataset) -> None:
    set_text(dataset, 0x00200032, "DS", "1.7e308\\-1.7e308\\1.7e308")


def free_text_modality(dataset: Dataset) -> None:
    set_text(dataset, 0x00080060, "CS", "DOE^JANE")


@pytest.mark.parametrize("edit", [odd_rows, odd_sequence, odd_age, tiny_spacing, far_position, free_text_modality])
def test_one_odd_header_costs_its_series_at_most(tmp_path: Path, edit: Callable[[Dataset], None]) -> None:
    good = make_voxels(SHAPE, seed=3)
    write_series(tmp_path / "good", good)
    path = write_radiograph(tmp_path / "odd.dcm", make_voxels((6, 5, 1), seed=4)[:, :, 0])
    dataset = dcmread(path)
    edit(dataset)
    dataset.save_as(path, enforce_file_format=False)

    reading = read_folder(tmp_path)

    (volume,) = [volume for series, volume in reading.volumes if len(series.files) == SHAPE[2]]
    np.testing.assert_array_equal(volume.voxels[0], good)


def test_a_transfer_syntax_of_two_values_costs_its_file(tmp_path: Path) -> None:
    path = write_radiograph(tmp_path / "odd.dcm", make_voxels((6, 5, 1))[:, :, 0])
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840\\10008.1.2.1\0"))
    assert_refused(read_folder(tmp_path), Code.BAD_HEADER)


def private_b_value(text: Any) -> Callable[[Dataset, int], None]:
    def edit(dataset: Dataset, k: int) -> None:
        block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
        block.add_new(0x39, "LO", text)

    return edit


def test_private_b_values_are_read_whole(tmp_path: Path) -> None:
    low, high = make_voxels(SHAPE, seed=1), make_voxels(SHAPE, seed=2)
    write_series(tmp_path / "a", low, modality="MR", edit=private_b_value("1000"))
    write_series(tmp_path / "b", high, modality="MR", part=1, edit=private_b_value("1500"))
    assert_all_right(read_folder(tmp_path), [(low, AFFINE), (high, AFFINE)])


def shifted_rescale(dataset: Dataset, k: int) -> None:
    dataset.RescaleIntercept = "-1024"


def other_spacing(dataset: Dataset, k: int) -> None:
    dataset.PixelSpacing = ["2.0", "2.0"]


@pytest.mark.parametrize("edit", [shifted_rescale, other_spacing])
def test_equal_bytes_of_another_meaning_are_no_copies(tmp_path: Path, edit: Callable[[Dataset, int], None]) -> None:
    voxels = make_voxels(SHAPE)
    write_series(tmp_path / "a", voxels)
    write_series(tmp_path / "b", voxels, part=1, edit=edit)
    assert_refused(read_folder(tmp_path), Code.AMBIGUOUS, Code.MATRIX)


def at(slices: set[int], **values: Any) -> Callable[[Dataset, int], None]:
    """Set attributes on some slices; on the others those that stand for them there."""
    usual = {"EchoTime": "10", "ConvolutionKernel": "B30", "Units": "HU", "Modality": "CT"}

    def edit(dataset: Dataset, k: int) -> None:
        for name, value in values.items():
            setattr(dataset, name, value if k in slices else usual[name])

    return edit


@pytest.mark.parametrize("values", [{"EchoTime": "80"}, {"ConvolutionKernel": "B70"}, {"Units": "BQML"}])
def test_one_slice_of_another_kind_fills_no_gap(tmp_path: Path, values: dict[str, str]) -> None:
    write_series(tmp_path, make_voxels(SHAPE), edit=at({4}, **values))
    assert_refused(read_folder(tmp_path), Code.MIXED)


def test_kernels_that_adjoin_are_two_volumes(tmp_path: Path) -> None:
    voxels = make_voxels(SHAPE)
    write_series(tmp_path, voxels, edit=at(set(range(5, 10)), ConvolutionKernel="B70"))
    above = expected_affine(AXIAL, (0.0, 0.0, 5.0), SPACING)
    assert_all_right(read_folder(tmp_path), [(voxels[:, :, :5], AFFINE), (voxels[:, :, 5:], above)])


def turned_in_plane(dataset: Dataset, k: int) -> None:
    if k == 0:
        dataset.ImageOrientationPatient = ["-1", "0", "0", "0", "-1", "0"]


def test_an_end_slice_that_is_turned_is_no_localizer(tmp_path: Path) -> None:
    write_series(tmp_path, make_voxels(SHAPE), edit=turned_in_plane)
    assert_refused(read_folder(tmp_path), Code.MATRIX)


def test_values_beyond_what_a_number_holds_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, make_voxels(SHAPE), intercept=1e39)
    assert_refused(read_folder(tmp_path), Code.NOT_FINITE)


def test_many_missing_slices_are_a_gap_where_the_thickness_tells_the_step(tmp_path: Path) -> None:
    paths = write_series(tmp_path, make_voxels((6, 5, 6)))
    paths[2].unlink()
    paths[4].unlink()
    assert_refused(read_folder(tmp_path), Code.GAP)


def test_a_table_and_monochrome1_turn_the_output_over(tmp_path: Path) -> None:
    table = [0, 100, 400, 900]

    def edit(dataset: Dataset) -> None:
        item = Dataset()
        item.LUTDescriptor, item.ModalityLUTType = [4, 0, 16], "US"
        item.add_new("LUTData", "US", table)
        dataset.ModalityLUTSequence = [item]
        dataset.PhotometricInterpretation = "MONOCHROME1"

    pixels = np.arange(12, dtype=np.uint16).reshape(4, 3) % 4
    dataset = dcmread(write_radiograph(tmp_path / "a.dcm", pixels))
    for name in ("RescaleSlope", "RescaleIntercept", "RescaleType"):
        if name in dataset:
            delattr(dataset, name)
    edit(dataset)
    dataset.save_as(tmp_path / "a.dcm")
    volume = read_folder(tmp_path).volume
    np.testing.assert_array_equal(volume.voxels[0, :, :, 0], 65535 - np.array(table)[pixels])


def test_a_file_cut_off_anywhere_in_its_header_is_no_skip(tmp_path: Path) -> None:
    whole = write_series(tmp_path / "whole", make_voxels((6, 5, 1)))[0].read_bytes()
    for length in range(150, len(whole) - 60, 7):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / "a.dcm").write_bytes(whole[:length])
        (refusal,) = discover(folder, ReadOptions()).refusals
        assert refusal.code is not Code.NOT_AN_IMAGE, (length, refusal.message)


def test_a_volume_that_was_exported_a_frame_a_file(tmp_path: Path) -> None:
    voxels = make_voxels(SHAPE)
    for k, frame in enumerate(make_frames(voxels)):
        write_enhanced(tmp_path / f"{k}.dcm", [frame])
    assert_all_right(read_folder(tmp_path), [(voxels, AFFINE)])


def test_patients_that_alternate_in_one_series_are_refused(tmp_path: Path) -> None:
    def edit(dataset: Dataset, k: int) -> None:
        dataset.PatientID = f"PAT-000{1 + k % 2}"

    write_series(tmp_path, make_voxels(SHAPE), edit=edit)
    assert_refused(read_folder(tmp_path), Code.BAD_HEADER)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({0: ""}, "PatientID is missing on some images of the series"),
        ({0: "", 1: "PAT-9"}, "2 patients share one series of one study"),
        ({1: "PAT-9"}, "2 patients share one series of one study"),
    ],
)
def test_what_is_wrong_with_the_patients_of_a_series_is_said(tmp_path: Path, ids: dict[int, str], message: str) -> None:
    def named(dataset: Dataset, k: int) -> None:
        dataset.PatientID = ids.get(k, dataset.PatientID)

    write_series(tmp_path, make_voxels((6, 5, 4)), edit=named)
    refusals = discover(tmp_path, ReadOptions()).refusals
    assert {refusal.code for refusal in refusals} == {Code.BAD_HEADER, Code.INCOMPLETE}
    assert [refusal.message for refusal in refusals if refusal.code is Code.BAD_HEADER] == [message]
