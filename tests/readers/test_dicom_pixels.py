"""What the voxels of a DICOM series are worth: rescale, depth and sign, padding, polarity, colour, transfer syntax."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import (
    Edit,
    Identity,
    expected_affine,
    make_items,
    make_voxels,
    set_text,
    without,
    write_series,
)
from phantoms.readings import assert_all_right, assert_refused, assert_right, assert_right_or_refused, read_folder
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.domain.codes import Code

SHAPE = (6, 5, 4)
AFFINE = expected_affine()
SYNTAXES = [
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGLSLossless,
    JPEG2000Lossless,
]
SLOPE_TAG, INTERCEPT_TAG = 0x00281053, 0x00281052
Voxels = NDArray[Any]


@pytest.mark.parametrize(
    ("modality", "slope", "intercept"),
    [
        pytest.param("CT", 1, -1024, id="CT"),
        pytest.param("CT", 0.5, 100.25, id="fractions"),
        pytest.param("MR", -2, 7, id="negative slope"),
        pytest.param("MR", 1e-7, 0, id="tiny slope"),
        pytest.param("PT", [0.25, 1.5, 3.75, 2.125], [0, 0, 0, 0], id="slope of each slice"),
        pytest.param("PT", [0.25, 1.5, 3.75, 2.125], [-3, 5, 0.5, 1e3], id="slope and intercept of each slice"),
        pytest.param("MR", None, None, id="none"),
        pytest.param("CT", None, None, id="none in CT"),
    ],
)
def test_rescale(tmp_path: Path, modality: str, slope: Any, intercept: Any) -> None:
    stored = make_voxels(SHAPE)
    write_series(tmp_path, stored, modality=modality, slope=slope, intercept=intercept)
    known = stored * np.asarray(1.0 if slope is None else slope) + np.asarray(0.0 if slope is None else intercept)
    assert_all_right(read_folder(tmp_path), [(known, AFFINE)], rtol=1e-6)


@pytest.mark.parametrize("tag", [SLOPE_TAG, INTERCEPT_TAG])
@pytest.mark.parametrize("text", ["nan", "inf", "1,5", "one"])
@pytest.mark.parametrize("slices", [range(4), [3]], ids=["all", "last"])
def test_a_rescale_that_is_no_number(tmp_path: Path, tag: int, text: str, slices: list[int]) -> None:
    def spoil(dataset: Dataset, k: int) -> None:
        if k in slices:
            set_text(dataset, tag, "DS", text)

    write_series(tmp_path, make_voxels(SHAPE), edit=spoil)
    assert_refused(read_folder(tmp_path), Code.BAD_VALUE)


def test_a_slope_of_zero(tmp_path: Path) -> None:
    write_series(tmp_path, make_voxels(SHAPE), slope=0.0)
    assert_refused(read_folder(tmp_path), Code.BAD_VALUE)


@pytest.mark.parametrize("lost", [["RescaleSlope", "RescaleIntercept"], ["RescaleSlope"], ["RescaleIntercept"]])
def test_a_ct_slice_that_lost_its_rescale(tmp_path: Path, lost: list[str]) -> None:
    """One slice in another unit than its neighbours makes a wrong volume."""
    write_series(tmp_path, make_voxels(SHAPE), slope=2, intercept=-1024, edit=without(*lost, slices=[2]))
    assert not read_folder(tmp_path).volumes


def test_the_display_window_changes_nothing(tmp_path: Path) -> None:
    def window(dataset: Dataset, k: int) -> None:
        dataset.WindowCenter, dataset.WindowWidth = ["40", "300"], ["400", "1500"]
        dataset.VOILUTFunction = "SIGMOID"

    stored = make_voxels(SHAPE)
    write_series(tmp_path, stored, intercept=-1024, edit=window)
    assert_all_right(read_folder(tmp_path), [(stored - 1024.0, AFFINE)])


def test_philips_private_scaling_is_not_taken_for_the_rescale(tmp_path: Path) -> None:
    def private(dataset: Dataset, k: int) -> None:
        dataset.add_new(0x20050010, "LO", "Philips MR Imaging DD 001")
        dataset.add_new(0x2005100D, "FL", 11.0)
        dataset.add_new(0x2005100E, "FL", 0.01)

    stored = make_voxels(SHAPE)
    write_series(tmp_path, stored, modality="MR", slope=1.25, intercept=3, edit=private)
    assert_all_right(read_folder(tmp_path), [(stored * 1.25 + 3, AFFINE)], rtol=1e-6)


def test_a_modality_lookup_table_is_applied_or_refused(tmp_path: Path) -> None:
    table = np.random.default_rng(8).permutation(256).astype(np.uint16) * 13

    def lookup(dataset: Dataset) -> None:
        dataset.ModalityLUTSequence = make_items(LUTDescriptor=[256, 0, 16], ModalityLUTType="US")
        dataset.ModalityLUTSequence[0].add_new("LUTData", "OW", table.astype("<u2").tobytes())

    image = make_voxels((6, 5, 1), high=256, dtype=np.uint8)
    write_radiograph(tmp_path / "a.dcm", image[:, :, 0], modality="CR", spacing_tag="PixelSpacing", edit=lookup)
    reading = read_folder(tmp_path)
    if reading.volumes:
        np.testing.assert_array_equal(reading.volume.voxels[0], table[image])
    else:
        assert_refused(reading, Code.NOT_SUPPORTED)


# depth and sign


@pytest.mark.parametrize(
    ("dtype", "bits", "low", "high"),
    [
        pytest.param(np.uint8, 8, 0, 256, id="8 bit"),
        pytest.param(np.int8, 8, -128, 128, id="8 bit signed"),
        pytest.param(np.uint16, 16, 0, 65536, id="16 bit"),
        pytest.param(np.int16, 16, -32768, 32768, id="16 bit signed"),
        pytest.param(np.uint16, 12, 0, 4096, id="12 bit"),
        pytest.param(np.int16, 12, -2048, 2048, id="12 bit signed"),
        pytest.param(np.uint16, 10, 0, 1024, id="10 bit"),
        pytest.param(np.int16, 13, -4096, 4096, id="13 bit signed"),
    ],
)
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_depth_sign_and_transfer_syntax(
    tmp_path: Path, syntax: UID, dtype: Any, bits: int, low: int, high: int
) -> None:
    shape = (33, 35, 2) if syntax in (JPEGLSLossless, JPEG2000Lossless) else SHAPE
    stored = make_voxels(shape, low=low, high=high, dtype=dtype)
    stored.reshape(-1)[:2] = low, high - 1
    write_series(tmp_path, stored, bits_stored=bits, transfer_syntax=syntax, intercept=-24)
    assert_all_right(read_folder(tmp_path), [(stored - 24.0, AFFINE)])


@pytest.mark.parametrize("syntax", SYNTAXES[:5], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("signed", [False, True])
def test_rubbish_above_the_stored_bits_is_cut_off(tmp_path: Path, signed: bool, syntax: UID) -> None:
    """Old scanners keep an overlay in bits 12 to 15 of the pixel cells; others leave whatever was there."""
    low, high = (-2048, 2048) if signed else (0, 4096)
    stored = make_voxels(SHAPE, low=low, high=high, dtype=np.int16)
    rubbish = np.random.default_rng(5).integers(0, 16, SHAPE) << 12
    cells = ((stored.astype(np.int32) & 0xFFF) | rubbish).astype(np.uint16)

    def overlay(dataset: Dataset, k: int) -> None:
        dataset.PixelRepresentation = int(signed)
        for plane in range(4):
            group = 0x6000 + 2 * plane
            dataset.add_new((group, 0x0010), "US", SHAPE[1])
            dataset.add_new((group, 0x0011), "US", SHAPE[0])
            dataset.add_new((group, 0x0040), "CS", "G")
            dataset.add_new((group, 0x0050), "SS", [1, 1])
            dataset.add_new((group, 0x0100), "US", 16)
            dataset.add_new((group, 0x0102), "US", 12 + plane)

    write_series(tmp_path, cells, bits_stored=12, edit=overlay, transfer_syntax=syntax)
    assert_all_right(read_folder(tmp_path), [(stored, AFFINE)])


def test_stored_bits_at_the_upper_end_of_the_cell(tmp_path: Path) -> None:
    """HighBit 15 of 12 stored bits (retired): shifted down, or refused."""
    stored = make_voxels(SHAPE, high=4096)

    def upper(dataset: Dataset, k: int) -> None:
        dataset.HighBit = 15

    write_series(tmp_path, (stored << 4).astype(np.uint16), bits_stored=12, edit=upper)
    codes = Code.NOT_SUPPORTED, Code.BAD_HEADER, Code.BAD_PIXELS, Code.BAD_VALUE
    assert_right_or_refused(read_folder(tmp_path), [(stored, AFFINE)], *codes)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_32_bits_are_exact_or_refused(tmp_path: Path, dtype: Any) -> None:
    stored = make_voxels(SHAPE, high=2**24, dtype=dtype)
    write_series(tmp_path, stored, modality="MR")
    assert_right_or_refused(read_folder(tmp_path), [(stored, AFFINE)], Code.NOT_SUPPORTED)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_32_bits_that_float32_cannot_hold_are_refused(tmp_path: Path, dtype: Any) -> None:
    stored = make_voxels(SHAPE, high=2**24, dtype=dtype)
    stored[1, 1, 1] = 2**24 + 1
    write_series(tmp_path / "as stored", stored, modality="MR")
    assert_refused(read_folder(tmp_path / "as stored"), Code.NOT_SUPPORTED)
    write_series(tmp_path / "measured", stored, modality="MR", slope=0.5)
    assert_all_right(read_folder(tmp_path / "measured"), [(stored * 0.5, AFFINE)], rtol=1e-7)


def test_float_pixels_are_right_or_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(size=SHAPE).astype(np.float32)

    def floats(dataset: Dataset, k: int) -> None:
        del dataset.PixelData
        dataset.FloatPixelData = np.ascontiguousarray(values[:, :, k].T).tobytes()
        dataset.BitsAllocated = dataset.BitsStored = 32
        dataset.HighBit = 31

    write_series(tmp_path, make_voxels(SHAPE), modality="MR", edit=floats)
    assert_right_or_refused(read_folder(tmp_path), [(values, AFFINE)], Code.NOT_SUPPORTED, Code.BAD_PIXELS)


def bits(**changes: int) -> Edit:
    def edit(dataset: Dataset, k: int) -> None:
        for keyword, value in changes.items():
            setattr(dataset, keyword, value)

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(bits(BitsStored=0, HighBit=0), id="no bits stored"),
        pytest.param(bits(BitsStored=20, HighBit=19), id="more stored than allocated"),
        pytest.param(bits(BitsAllocated=12, BitsStored=12, HighBit=11), id="12 bits allocated"),
        pytest.param(bits(BitsAllocated=0, BitsStored=0, HighBit=0), id="nothing allocated"),
        pytest.param(bits(Rows=0), id="no rows"),
        pytest.param(bits(SamplesPerPixel=2), id="two samples"),
        pytest.param(bits(SamplesPerPixel=0), id="no samples"),
        pytest.param(bits(PixelRepresentation=7), id="sign 7"),
        pytest.param(without("BitsAllocated"), id="allocation missing"),
        pytest.param(without("Rows"), id="rows missing"),
        pytest.param(without("PhotometricInterpretation"), id="photometric missing"),
        pytest.param(without("PixelData"), id="pixels missing"),
    ],
)
def test_a_pixel_header_that_makes_no_sense(tmp_path: Path, edit: Edit) -> None:
    write_series(tmp_path, make_voxels(SHAPE), edit=edit)
    codes = Code.BAD_HEADER, Code.BAD_PIXELS, Code.BAD_VALUE, Code.NOT_SUPPORTED, Code.TRUNCATED, Code.NOT_AN_IMAGE
    assert_refused(read_folder(tmp_path), *codes)


@pytest.mark.parametrize("lost", ["BitsStored", "PixelRepresentation", "HighBit", "SamplesPerPixel"])
def test_a_pixel_header_that_lacks_a_value(tmp_path: Path, lost: str) -> None:
    """What can be derived may be derived; what cannot is no reason to guess."""
    stored = make_voxels(SHAPE)
    write_series(tmp_path, stored, edit=without(lost))
    codes = Code.BAD_HEADER, Code.BAD_PIXELS, Code.BAD_VALUE, Code.NOT_SUPPORTED
    assert_right_or_refused(read_folder(tmp_path), [(stored, AFFINE)], *codes)


def test_slices_of_different_sign(tmp_path: Path) -> None:
    """Each slice is read by its own header."""
    stored = make_voxels(SHAPE, low=-1000, high=1000, dtype=np.int16)
    stored[:, :, 2] = np.abs(stored[:, :, 2])

    def unsigned(dataset: Dataset, k: int) -> None:
        dataset.PixelRepresentation = int(k != 2)

    write_series(tmp_path, stored, edit=unsigned)
    assert_right_or_refused(read_folder(tmp_path), [(stored, AFFINE)], Code.MATRIX, Code.BAD_HEADER)


def test_a_constant_image_is_read_or_flagged(tmp_path: Path) -> None:
    stored = np.full(SHAPE, 77, np.uint16)
    write_series(tmp_path, stored)
    assert_right_or_refused(read_folder(tmp_path), [(stored, AFFINE)], Code.CONSTANT)


# polarity


@pytest.mark.parametrize("modality", ["DX", "CR", "MG"])
@pytest.mark.parametrize(("dtype", "depth"), [(np.uint16, 12), (np.uint16, 16), (np.uint8, 8)])
def test_monochrome1_is_inverted_so_that_larger_is_brighter(
    tmp_path: Path, modality: str, dtype: Any, depth: int
) -> None:
    image = make_voxels((6, 5, 1), high=2**depth, dtype=dtype)
    write_radiograph(
        tmp_path / "a.dcm", image[:, :, 0], modality=modality, photometric="MONOCHROME1", bits_stored=depth
    )
    volume = read_folder(tmp_path).volume
    np.testing.assert_array_equal(volume.voxels[0], 2.0**depth - 1 - image)


def test_monochrome1_before_the_rescale(tmp_path: Path) -> None:
    stored = make_voxels(SHAPE, high=4096)
    write_series(tmp_path, stored, bits_stored=12, photometric="MONOCHROME1", slope=2, intercept=-10, modality="MR")
    assert_all_right(read_folder(tmp_path), [((4095.0 - stored) * 2 - 10, AFFINE)])


def test_signed_monochrome1(tmp_path: Path) -> None:
    image = make_voxels((6, 5, 1), low=-2048, high=2048, dtype=np.int16)
    write_radiograph(tmp_path / "a.dcm", image[:, :, 0], photometric="MONOCHROME1", bits_stored=12)
    reading = read_folder(tmp_path)
    if not reading.volumes:
        assert_refused(reading, Code.NOT_SUPPORTED)
        return
    total = reading.volume.voxels[0] + image
    assert total.min() == total.max() == -1, "the lowest value of 12 bits becomes the highest"


# padding


def padded(value: int, limit: int | None = None, vr: str = "SS") -> Edit:
    def edit(dataset: Dataset, k: int) -> None:
        dataset.add_new(0x00280120, vr, value)
        if limit is not None:
            dataset.add_new(0x00280121, vr, limit)

    return edit


@pytest.mark.parametrize(
    ("edit", "low", "high"),
    [
        pytest.param(padded(-2000), -2000, -2000, id="one value"),
        pytest.param(padded(-2000, -1990), -2000, -1990, id="a range"),
        pytest.param(padded(-1990, -2000), -2000, -1990, id="a range from above"),
        pytest.param(padded(63536, vr="US"), -2000, -2000, id="written as unsigned"),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=lambda syntax: syntax.keyword)
def test_padding_is_masked(tmp_path: Path, edit: Edit, low: int, high: int, syntax: UID) -> None:
    stored = make_voxels(SHAPE, low=-1000, high=1000, dtype=np.int16)
    stored[0], stored[-1, :2], stored[2, 2, 1] = -2000, -1995, -1990
    write_series(tmp_path, stored, slope=2, intercept=-24, edit=edit, transfer_syntax=syntax)
    volume = read_folder(tmp_path).volume
    padding = (stored >= low) & (stored <= high)
    assert volume.valid is not None
    np.testing.assert_array_equal(volume.valid, ~padding)
    np.testing.assert_array_equal(volume.voxels[0][~padding], (stored * 2.0 - 24)[~padding])
    np.testing.assert_allclose(volume.geometry.matrix, AFFINE, atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "fill", "edit"),
    [
        pytest.param(np.uint16, 63536, padded(63536, vr="US"), id="unsigned"),
        pytest.param(np.uint16, 63536, padded(-2000), id="unsigned, written with a sign"),
        pytest.param(np.uint16, 63536, padded(63530, 63540, vr="US"), id="unsigned, a range"),
        pytest.param(np.int16, -32768, padded(-32768), id="signed"),
    ],
)
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless], ids=lambda syntax: syntax.keyword
)
def test_padding_that_the_stored_bits_cannot_hold_is_masked(
    tmp_path: Path, dtype: Any, fill: int, edit: Edit, syntax: UID
) -> None:
    """Cut to 12 bits, 63536 is 2096, which is bone; other rubbish above BitsStored is still cut off."""
    stored = make_voxels(SHAPE, low=0, high=2000, dtype=dtype)
    stored[3, 3, :] = 2096 if dtype is np.uint16 else 0
    cells = stored.copy()
    cells[1, 1, :] |= 1 << 13
    cells[0] = fill
    write_series(tmp_path, cells, intercept=-1024, bits_stored=12, edit=edit, transfer_syntax=syntax)
    volume = read_folder(tmp_path).volume
    assert volume.valid is not None
    assert not volume.valid[0].any()
    assert volume.valid[1:].all()
    np.testing.assert_array_equal(volume.voxels[0][1:], stored[1:] - 1024.0)


def test_padding_beyond_the_bits_that_no_pixel_holds(tmp_path: Path) -> None:
    stored = make_voxels(SHAPE, high=4096)
    write_series(tmp_path, stored, bits_stored=12, edit=padded(63536, vr="US"))
    volume = read_folder(tmp_path).volume
    assert_right(volume, (stored, AFFINE))
    assert volume.valid is None


def test_padding_is_masked_before_polarity_is_turned(tmp_path: Path) -> None:
    image = make_voxels((6, 5, 1), low=1, high=4095)
    image[:2] = 0
    write_radiograph(
        tmp_path / "a.dcm",
        image[:, :, 0],
        photometric="MONOCHROME1",
        bits_stored=12,
        edit=lambda dataset: padded(0, vr="US")(dataset, 0),
    )
    volume = read_folder(tmp_path).volume
    assert volume.valid is not None
    np.testing.assert_array_equal(volume.valid, image != 0)
    np.testing.assert_array_equal(volume.voxels[0][image != 0], (4095.0 - image)[image != 0])


def test_no_padding_is_no_mask(tmp_path: Path) -> None:
    write_series(tmp_path / "with", make_voxels(SHAPE, low=1, high=900, dtype=np.int16), edit=padded(-2000))
    write_series(tmp_path / "without", make_voxels(SHAPE), identity=Identity.numbered(2))
    for _, volume in read_folder(tmp_path).volumes:
        assert volume.valid is None or volume.valid.all()


def test_every_value_arrives_as_float32(tmp_path: Path) -> None:
    write_series(tmp_path, make_voxels(SHAPE))
    volume = read_folder(tmp_path).volume
    assert volume.voxels.dtype == np.float32
    assert volume.modality == "CT"
    assert_right(volume, (make_voxels(SHAPE), AFFINE))
