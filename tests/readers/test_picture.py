"""PNG and JPEG files with known samples, packed by hand or by Pillow, at full depth and upright; or refused."""

import itertools
import re
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from phantoms.pictures import chunk, png
from PIL import Image, ImageOps

from pipeline.domain.geometry import Plane, Unit
from pipeline.domain.series import Series, SourceFile
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.picture import Config

READER = Config().build()
OPTIONS = ReadOptions(modality="OP")
RANDOM = np.random.default_rng(3)
PHOTO = np.asarray(
    Image.fromarray(RANDOM.integers(0, 256, (4, 6, 3), dtype=np.uint8)).resize((37, 21), Image.Resampling.BICUBIC)
)


def series_of(content: bytes, options: ReadOptions = OPTIONS) -> Series:
    file = SourceFile(Path("/scans/a.png"), "a.png", len(content))
    return READER.assemble([READER.inspect(file, content, options)], options).series[0]


def read_bytes(content: bytes, options: ReadOptions = OPTIONS) -> Volume:
    return READER.read(series_of(content, options), lambda file: content, options)


def rows_first(volume: Volume) -> np.ndarray:
    """Samples as pictures have them: (rows, columns, channels)."""
    return volume.voxels[..., 0].transpose(2, 1, 0)


def code_of(content: bytes, options: ReadOptions = OPTIONS) -> str:
    with pytest.raises(RejectedInput) as caught:
        read_bytes(content, options)
    return caught.value.code


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("filtering", range(5))
@pytest.mark.parametrize(("colour", "stored"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("dtype", ["u1", ">u2"])
def test_png_of_every_colour_type_depth_and_filter(dtype: str, colour: int, stored: int, filtering: int) -> None:
    known = RANDOM.integers(0, 2 ** (8 * np.dtype(dtype).itemsize), (5, 7, stored)).astype(dtype)
    channels = 1 if colour in (0, 4) else 3

    volume = read_bytes(png(known, colour, filtering=filtering))

    np.testing.assert_array_equal(rows_first(volume), known[..., :channels])
    assert volume.notes == (("the alpha channel was dropped",) if colour in (4, 6) else ())
    assert (volume.geometry.shape, volume.geometry.unit) == ((7, 5, 1), Unit.PIXEL)
    np.testing.assert_array_equal(volume.geometry.matrix, np.eye(4))
    assert (volume.geometry.plane, volume.modality) == (Plane.NONE, "OP")


@pytest.mark.parametrize(("depth", "values"), [(1, (0, 255)), (2, (0, 85, 170, 255)), (4, tuple(range(0, 256, 17)))])
def test_png_of_few_bits_spans_the_range_of_eight(depth: int, values: tuple[int, ...]) -> None:
    levels = RANDOM.integers(0, 2**depth, (3, 8, 1)).astype("u1")

    np.testing.assert_array_equal(rows_first(read_bytes(png(levels, 0, depth=depth))), np.array(values)[levels])


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_becomes_colour(depth: int) -> None:
    palette = RANDOM.integers(0, 256, (2**depth, 3), dtype=np.uint8)
    indices = RANDOM.integers(0, 2**depth, (3, 8, 1)).astype("u1")

    volume = read_bytes(png(indices, 3, depth=depth, extra=[chunk(b"PLTE", palette.tobytes())]))

    np.testing.assert_array_equal(rows_first(volume), palette[indices[..., 0]])


def test_a_colour_that_the_palette_lacks_is_refused() -> None:
    indices = np.array([[[0], [5]]], "u1")

    assert code_of(png(indices, 3, extra=[chunk(b"PLTE", bytes(6))])) == "CORRUPT"
    assert code_of(png(indices, 3)) == "BAD_HEADER"


def test_transparency_is_dropped_with_a_note() -> None:
    content = png(np.arange(6, dtype="u1").reshape(2, 3, 1), 0, extra=[chunk(b"tRNS", b"\0\3")])

    volume = read_bytes(content)

    assert volume.notes == ("the alpha channel was dropped",)
    np.testing.assert_array_equal(rows_first(volume)[..., 0], [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("shape", [(33, 18, 1), (33, 18, 3)])
def test_interlaced_png_as_pillow_reads_it(shape: tuple[int, int, int]) -> None:
    known = RANDOM.integers(0, 65536, shape).astype(">u2")

    content = png(known, 2 if shape[2] == 3 else 0, interlace=True)

    np.testing.assert_array_equal(rows_first(read_bytes(content)), known)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg(mode: str, progressive: bool) -> None:
    content = saved(Image.fromarray(PHOTO).convert(mode), "JPEG", quality=95, progressive=progressive)
    expected = np.asarray(Image.open(BytesIO(content)))

    volume = read_bytes(content)

    np.testing.assert_array_equal(np.squeeze(rows_first(volume)), expected)
    assert np.abs(np.squeeze(rows_first(volume)) - np.asarray(Image.fromarray(PHOTO).convert(mode))).mean() < 6
    assert volume.geometry.shape == (37, 21, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_exif_orientation_is_applied(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(PHOTO), form, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(content))))

    volume = read_bytes(content)

    np.testing.assert_array_equal(rows_first(volume), expected)
    assert bool(volume.notes) is (orientation != 1)
    columns, rows = expected.shape[1], expected.shape[0]
    assert series_of(content).attributes == {
        "columns": str(columns),
        "rows": str(rows),
        "slices": "1",
        "plane": "none",
        "spacing": "1x1x1",
    }


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_changes_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    np.testing.assert_array_equal(rows_first(read_bytes(saved(Image.fromarray(PHOTO), "PNG", exif=exif))), PHOTO)


def test_every_truncated_png_is_refused() -> None:
    whole = png(PHOTO, 2)

    assert {code_of(whole[:length]) for length in range(8, len(whole), 7)} == {"TRUNCATED"}


def test_no_flipped_bit_of_a_png_passes() -> None:
    whole = png(PHOTO[:4, :5], 2)
    for bit in range(8 * 8, len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        assert code_of(bytes(damaged)) in {"CORRUPT", "TRUNCATED"}


def test_every_truncated_jpeg_is_refused_until_its_last_sample_is_there() -> None:
    whole = saved(Image.fromarray(PHOTO), "JPEG")
    expected = read_bytes(whole).voxels
    for length in range(3, len(whole)):
        try:
            volume = read_bytes(whole[:length])
        except RejectedInput as error:
            assert error.code in {"TRUNCATED", "CORRUPT"}
        else:
            assert length >= len(whole) - 2  # the marker of the end
            np.testing.assert_array_equal(volume.voxels, expected)


@pytest.mark.parametrize("options", [{}, {"restart_marker_blocks": 2}], ids=str)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_that_keeps_its_end_and_lacks_what_is_before_it(mode: str, options: dict[str, int]) -> None:
    whole = saved(Image.fromarray(PHOTO).convert(mode), "JPEG", **options)
    read_bytes(whole)
    for kept in (0.7, 0.8, 0.9, 0.99):
        assert code_of(whole[: int(kept * len(whole))] + whole[-2:]) in {"TRUNCATED", "CORRUPT"}


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_progressive_jpeg_that_lacks_scans(mode: str) -> None:
    """What is there is whole, and coarse; cut off within the tables between two scans too."""
    whole = saved(Image.fromarray(PHOTO).convert(mode), "JPEG", progressive=True)
    starts = [found.start() for found in re.finditer(rb"\xff[\xc4\xda]", whole)]
    for kept in [place + more for place in starts[3:] for more in (0, 9)]:
        assert code_of(whole[:kept] + whole[-2:]) in {"TRUNCATED", "CORRUPT"}


def test_picture_data_that_is_too_short_is_refused() -> None:
    short = zlib.compress(bytes(10))
    start = struct.pack(">IIBBBBB", 7, 5, 8, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", short) + chunk(b"IEND", b"")

    assert code_of(content) in {"TRUNCATED", "CORRUPT"}


@pytest.mark.parametrize(
    ("size", "code"), [((2**31 - 1, 2**31 - 1), "TOO_LARGE"), ((60000, 60000), "TOO_LARGE"), ((0, 5), "BAD_HEADER")]
)
def test_an_impossible_size_is_refused_by_the_header(size: tuple[int, int], code: str) -> None:
    start = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", zlib.compress(bytes(100)))

    assert code_of(content + chunk(b"IEND", b"")) == code


def test_a_jpeg_that_claims_too_much_is_refused_by_the_header() -> None:
    content = bytearray(saved(Image.fromarray(PHOTO), "JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)

    assert code_of(bytes(content)) == "TOO_LARGE"


def test_text_that_inflates_without_bound_is_not_touched() -> None:
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 * 2**20)))

    np.testing.assert_array_equal(rows_first(read_bytes(png(PHOTO, 2, extra=[bomb]))), PHOTO)


@pytest.mark.parametrize(("form", "mode"), [("PNG", "animated"), ("JPEG", "CMYK")])
def test_what_is_not_read_says_so(form: str, mode: str) -> None:
    first = Image.fromarray(PHOTO)
    if mode == "animated":
        content = saved(first, form, save_all=True, append_images=[first.transpose(Image.Transpose.ROTATE_180)])
    else:
        content = saved(first.convert(mode), form)

    assert code_of(content) == "NOT_SUPPORTED"


def test_a_constant_picture_is_flagged_and_read() -> None:
    assert read_bytes(png(np.full((3, 4, 1), 9, "u1"), 0)).notes == ("CONSTANT: every voxel is 9",)


def test_a_modality_is_never_guessed() -> None:
    assert series_of(png(PHOTO, 2), ReadOptions()).modality == ""
    assert code_of(png(PHOTO, 2), ReadOptions()) == "NO_MODALITY"


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(png(PHOTO, 2))
    (tmp_path / "b").write_bytes(saved(Image.fromarray(PHOTO), "JPEG"))
    (tmp_path / "c.png").write_bytes(b"GIF89a")
    (tmp_path / "d.png").write_bytes(b"")

    found = discover(tmp_path, OPTIONS)

    assert [(series.reader, series.key) for series in found.series] == [("picture", "a.jpg"), ("picture", "b")]
    assert [refusal.code.value for refusal in found.refusals] == ["NOT_SUPPORTED", "TRUNCATED"]


def test_no_changed_byte_of_a_jpeg_makes_anything_but_a_picture_or_a_refusal() -> None:
    whole = saved(Image.fromarray(PHOTO), "JPEG")
    for position, value in itertools.product(range(3, min(len(whole), 400)), (0, 255)):
        changed = bytearray(whole)
        changed[position] = value
        try:
            assert np.isfinite(read_bytes(bytes(changed)).voxels).all()
        except RejectedInput:
            continue
