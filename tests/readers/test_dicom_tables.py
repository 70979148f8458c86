"""Lookup tables: palettes become RGB, and the Modality LUT gives output units, however their entries are written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms.dicom_objects import write_radiograph
from phantoms.dicom_series import make_items, make_voxels, write_series
from phantoms.readings import assert_refused, read_folder
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from pipeline.domain.codes import Code
from pipeline.readers.dicom.planar import PROFILE_NOTE

Pixels = NDArray[Any]
ENTRIES = 250
COLOURS = np.random.default_rng(3).integers(0, 256, (ENTRIES, 3)).astype(np.uint8)


def packed(entries: Pixels, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Entries of 8 bits, two a word (PS3.5 6.2, OW): the first in the lower byte."""
    pairs = np.append(entries.astype(np.uint8), np.zeros(len(entries) % 2, np.uint8)).reshape(-1, 2)
    return (pairs[:, ::-1] if syntax == ExplicitVRBigEndian else pairs).tobytes()


def words(entries: Pixels, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    return entries.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()


def put_palette(dataset: Dataset, descriptor: list[int], content: Callable[[Pixels], bytes]) -> None:
    for channel, colour in enumerate(("Red", "Green", "Blue")):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", descriptor)
        setattr(dataset, f"{colour}PaletteColorLookupTableData", content(COLOURS[:, channel].astype(np.uint16)))


def write_palette(
    path: Path,
    index: Pixels,
    descriptor: list[int],
    content: Callable[[Pixels], bytes],
    syntax: UID = ExplicitVRLittleEndian,
    **changes: Any,
) -> None:
    write_radiograph(
        path,
        index,
        modality="US",
        spacing=None,
        photometric="PALETTE COLOR",
        transfer_syntax=syntax,
        edit=lambda dataset: put_palette(dataset, descriptor, content),
        **changes,
    )


def shown(root: Path) -> Pixels:
    """RGB of the only image, (i, j, 3)."""
    return np.moveaxis(read_folder(root).volume.voxels[..., 0], 0, -1)


def indices(dtype: Any = np.uint8, low: int = 0, high: int = ENTRIES, shape: tuple[int, int] = (6, 5)) -> Pixels:
    return make_voxels((*shape, 1), low=low, high=high, dtype=dtype)[:, :, 0]


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    ("bits", "content"),
    [
        pytest.param(8, packed, id="8 bits packed"),
        pytest.param(8, words, id="8 bits a word"),
        pytest.param(16, lambda entries, syntax: words(entries * 257, syntax), id="16 bits"),
        pytest.param(16, lambda entries, syntax: words(entries << 8, syntax), id="16 bits, lower empty"),
        pytest.param(16, packed, id="16 bits said, 8 packed"),
    ],
)
def test_a_palette_becomes_rgb(tmp_path: Path, syntax: UID, bits: int, content: Callable[..., bytes]) -> None:
    index = indices()
    write_palette(tmp_path / "a.dcm", index, [ENTRIES, 0, bits], lambda entries: content(entries, syntax), syntax)
    np.testing.assert_array_equal(shown(tmp_path), COLOURS[index])


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_a_compressed_palette_becomes_rgb(tmp_path: Path, syntax: UID) -> None:
    index = indices(shape=(40, 36))
    write_palette(tmp_path / "a.dcm", index, [ENTRIES, 0, 8], packed, syntax)
    np.testing.assert_array_equal(shown(tmp_path), COLOURS[index])


@pytest.mark.parametrize(
    ("dtype", "low", "high", "first"),
    [
        pytest.param(np.uint8, 0, 256, 0, id="beyond the table"),
        pytest.param(np.uint16, 990, 1260, 1000, id="on both sides of the table"),
        pytest.param(np.uint16, 60000, 60249, 60000, id="a first value that looks negative"),
        pytest.param(np.int16, -60, 200, -40, id="a negative first value"),
        pytest.param(np.int16, -32768, 32767, -32768, id="from end to end"),
    ],
)
def test_values_outside_a_palette_take_its_ends(tmp_path: Path, dtype: Any, low: int, high: int, first: int) -> None:
    index = indices(dtype, low, high)
    write_palette(tmp_path / "a.dcm", index, [ENTRIES, first, 8], packed)
    np.testing.assert_array_equal(shown(tmp_path), COLOURS[np.clip(index.astype(int) - first, 0, ENTRIES - 1)])


def test_a_palette_of_all_words(tmp_path: Path) -> None:
    """0 entries stand for 65,536."""
    table = np.random.default_rng(9).integers(0, 65536, 65536).astype(np.uint16)
    index = indices(np.uint16, 0, 65536)
    write_palette(tmp_path / "a.dcm", index, [0, 0, 16], lambda entries: words(table))
    np.testing.assert_array_equal(shown(tmp_path), np.repeat((table[index] >> 8)[..., np.newaxis], 3, axis=-1))


def test_a_segmented_palette(tmp_path: Path) -> None:
    """PS3.3 C.7.9.2.2: discrete 7, 9; linear over 3 to 15; linear over 2 to 0."""

    def segments(dataset: Dataset) -> None:
        for colour in ("Red", "Green", "Blue"):
            setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [7, 0, 8])
            setattr(
                dataset,
                f"Segmented{colour}PaletteColorLookupTableData",
                bytes([0, 2, 7, 9, 1, 3, 15, 1, 2, 0]),
            )

    index = indices(high=7)
    write_radiograph(tmp_path / "a.dcm", index, modality="US", spacing=None, photometric="PALETTE COLOR", edit=segments)
    table = np.array([7, 9, 11, 13, 15, 8, 0])
    found = shown(tmp_path)
    assert np.abs(found - table[index][..., np.newaxis]).max() <= 1  # 15 to 0 in two steps: 7.5 is rounded


def without_data(dataset: Dataset) -> None:
    del dataset.GreenPaletteColorLookupTableData


def short_data(dataset: Dataset) -> None:
    dataset.BluePaletteColorLookupTableData = dataset.BluePaletteColorLookupTableData[:-4]


def other_size(dataset: Dataset) -> None:
    dataset.BluePaletteColorLookupTableDescriptor = [ENTRIES - 2, 0, 8]


def odd_bits(dataset: Dataset) -> None:
    put_palette(dataset, [ENTRIES, 0, 12], packed)


def dark(dataset: Dataset) -> None:
    put_palette(dataset, [ENTRIES, 0, 16], words)


def too_bright(dataset: Dataset) -> None:
    put_palette(dataset, [ENTRIES, 0, 8], lambda entries: words(entries * 257))


@pytest.mark.parametrize("spoil", [without_data, short_data, other_size, odd_bits, dark, too_bright])
def test_a_palette_that_contradicts_itself_is_refused(tmp_path: Path, spoil: Callable[[Dataset], None]) -> None:
    def edit(dataset: Dataset) -> None:
        put_palette(dataset, [ENTRIES, 0, 8], packed)
        spoil(dataset)

    write_radiograph(tmp_path / "a.dcm", indices(), modality="US", spacing=None, photometric="PALETTE COLOR", edit=edit)
    assert_refused(read_folder(tmp_path), Code.BAD_VALUE)


def test_slices_of_a_volume_in_colours_are_refused(tmp_path: Path) -> None:
    voxels = make_voxels((6, 5, 4), high=ENTRIES, dtype=np.uint8)
    edit = lambda dataset, k: put_palette(dataset, [ENTRIES, 0, 8], packed)  # noqa: E731
    write_series(tmp_path, voxels, photometric="PALETTE COLOR", edit=edit, slope=None, intercept=None)
    assert_refused(read_folder(tmp_path), Code.NOT_SUPPORTED)


@pytest.mark.parametrize("presentation", ["COLOR", "MIXED", ""])
def test_grey_of_which_some_is_colour_is_refused(tmp_path: Path, presentation: str) -> None:
    def supplement(dataset: Dataset, k: int) -> None:
        put_palette(dataset, [ENTRIES, 3000, 8], packed)
        if presentation:
            dataset.PixelPresentation = presentation

    write_series(tmp_path, make_voxels((6, 5, 4)), modality="MR", edit=supplement)
    assert_refused(read_folder(tmp_path), Code.NOT_SUPPORTED)


def test_a_palette_that_is_not_presented_changes_nothing(tmp_path: Path) -> None:
    def unused(dataset: Dataset, k: int) -> None:
        put_palette(dataset, [ENTRIES, 0, 8], packed)
        dataset.PixelPresentation = "MONOCHROME"

    write_series(tmp_path, make_voxels((6, 5, 4)), modality="MR", edit=unused)
    np.testing.assert_array_equal(read_folder(tmp_path).volume.voxels[0], make_voxels((6, 5, 4)))


@pytest.mark.parametrize(
    ("profile", "space", "is_noted"),
    [
        pytest.param(b"a camera of its own ", "", True, id="another space"),
        pytest.param(b"IEC 61966-2.1 sRGB  ", "", False, id="sRGB by its profile"),
        pytest.param(b"a camera of its own ", "SRGB", False, id="sRGB by ColorSpace"),
    ],
)
def test_colours_stay_as_stored_and_another_space_is_noted(
    tmp_path: Path, profile: bytes, space: str, is_noted: bool
) -> None:
    rgb = make_voxels((6, 5, 3), high=256, dtype=np.uint8)

    def edit(dataset: Dataset) -> None:
        dataset.ICCProfile = profile
        if space:
            dataset.ColorSpace = space

    write_radiograph(tmp_path / "a.dcm", rgb, modality="US", spacing=None, photometric="RGB", edit=edit)
    volume = read_folder(tmp_path).volume
    np.testing.assert_array_equal(np.moveaxis(volume.voxels[..., 0], 0, -1), rgb)
    assert (PROFILE_NOTE in volume.notes) == is_noted


# Modality LUT

TABLE = np.random.default_rng(8).permutation(256).astype(np.uint16)


def write_lut(
    path: Path,
    image: Pixels,
    descriptor: list[int],
    vr: str,
    data: Any,
    syntax: UID = ExplicitVRLittleEndian,
    **more: Any,
) -> None:
    def lookup(dataset: Dataset) -> None:
        dataset.ModalityLUTSequence = make_items(LUTDescriptor=descriptor, ModalityLUTType="US")
        dataset.ModalityLUTSequence[0].add_new("LUTData", vr, data)

    settings = {"modality": "CR", "spacing_tag": "PixelSpacing"} | more
    write_radiograph(path, image, edit=lookup, transfer_syntax=syntax, **settings)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    ("bits", "factor", "vr", "data"),
    [
        pytest.param(8, 1, "OW", packed, id="8 bits packed in OW"),
        pytest.param(8, 1, "OW", words, id="8 bits a word in OW"),
        pytest.param(8, 1, "US", lambda entries, _: entries.tolist(), id="8 bits in US"),
        pytest.param(12, 16, "OW", words, id="12 bits"),
        pytest.param(16, 257, "OW", words, id="16 bits"),
        pytest.param(16, 257, "US", lambda entries, _: entries.tolist(), id="16 bits in US"),
    ],
)
def test_a_modality_table_gives_output_units(
    tmp_path: Path, syntax: UID, bits: int, factor: int, vr: str, data: Callable[..., Any]
) -> None:
    image, table = indices(high=256), TABLE * factor
    write_lut(tmp_path / "a.dcm", image, [256, 0, bits], vr, data(table, syntax), syntax)
    np.testing.assert_array_equal(read_folder(tmp_path).volume.voxels[0, ..., 0], table[image])


@pytest.mark.parametrize(
    ("dtype", "first", "low", "high"),
    [
        pytest.param(np.int16, -100, -120, 200, id="negative"),
        pytest.param(np.int16, -32768, -32768, 32767, id="from end to end"),
        pytest.param(np.uint16, 40000, 39990, 40300, id="high"),
    ],
)
def test_a_modality_table_begins_anywhere(tmp_path: Path, dtype: Any, first: int, low: int, high: int) -> None:
    image = indices(dtype, low, high)
    write_lut(tmp_path / "a.dcm", image, [256, first, 16], "OW", words(TABLE))
    known = TABLE[np.clip(image.astype(int) - first, 0, 255)]
    np.testing.assert_array_equal(read_folder(tmp_path).volume.voxels[0, ..., 0], known)


def test_a_modality_table_of_monochrome1_is_turned_over(tmp_path: Path) -> None:
    image = indices(high=256)
    write_lut(tmp_path / "a.dcm", image, [256, 0, 8], "OW", packed(TABLE), photometric="MONOCHROME1")
    np.testing.assert_array_equal(read_folder(tmp_path).volume.voxels[0, ..., 0], 255 - TABLE[image].astype(int))


@pytest.mark.parametrize(
    ("descriptor", "data"),
    [
        pytest.param([256, 0, 8], words(TABLE * 257), id="entries of more bits"),
        pytest.param([256, 0, 16], words(TABLE)[:-2], id="an entry less"),
        pytest.param([256, 0, 16], words(TABLE) + b"\0\0", id="an entry more"),
        pytest.param([256, 0, 0], words(TABLE), id="no bits"),
        pytest.param([256, 0, 20], words(TABLE), id="too many bits"),
        pytest.param([256, 0, 8], b"", id="nothing"),
    ],
)
def test_a_modality_table_that_contradicts_itself_is_refused(
    tmp_path: Path, descriptor: list[int], data: bytes
) -> None:
    write_lut(tmp_path / "a.dcm", indices(high=256), descriptor, "OW", data)
    assert_refused(read_folder(tmp_path), Code.BAD_VALUE)
