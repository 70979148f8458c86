"""NIfTI files written byte by byte: known voxels at known millimetres, or the code that says why not."""

import gzip
import math
import time
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms.niftis import SFORM, header1, nifti, voxels, zipped

from pipeline.domain.geometry import Plane, Unit
from pipeline.domain.series import Series, SourceFile
from pipeline.domain.volume import Volume
from pipeline.errors import RejectedInput
from pipeline.readers.discovery import discover
from pipeline.readers.nifti import Config
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import HeaderCutError
from pipeline.readers.reading import read

READER = Config().build()
OPTIONS = ReadOptions(modality="CT")
SHIPPED = Path(nib.__file__).parent / "tests" / "data"
AFFINE = np.array([*SFORM, (0, 0, 0, 1)])


def series_of(content: bytes, options: ReadOptions = OPTIONS) -> Series:
    file = SourceFile(Path("/scans/a.nii"), "a.nii", len(content))
    return READER.assemble([READER.inspect(file, content, options)], options).series[0]


def read_bytes(content: bytes, options: ReadOptions = OPTIONS) -> Volume:
    return READER.read(series_of(content, options), lambda file: content, options)


def code_of(content: bytes, options: ReadOptions = OPTIONS) -> str:
    with pytest.raises(RejectedInput) as caught:
        read_bytes(content, options)
    return caught.value.code


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_number_type_in_both_byte_orders(dtype: str, order: str) -> None:
    known = voxels((4, 3, 2) if dtype != "i1" else (4, 3, 1), dtype)

    volume = read_bytes(nifti(known, order=order))

    np.testing.assert_array_equal(volume.voxels, known[np.newaxis].astype(np.float32))
    assert volume.voxels.dtype == np.float32
    np.testing.assert_array_equal(volume.geometry.matrix, AFFINE)
    assert (volume.geometry.spacing, volume.geometry.unit) == ((2.0, 1.5, 3.0), Unit.MM)
    assert (volume.modality, volume.notes) == ("CT", ())


@pytest.mark.parametrize("dtype", ["i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("large", [2**24 + 1, 2**31 - 1, 2**53 + 1])
def test_whole_numbers_that_float32_cannot_hold_are_refused(dtype: str, large: int) -> None:
    known = voxels((4, 3, 2), dtype)
    known[1, 1, 1] = min(large, np.iinfo(dtype).max)
    assert code_of(nifti(known)) == "NOT_SUPPORTED"


@pytest.mark.parametrize(("dtype", "large"), [("i4", -(2**31)), ("u4", 2**24), ("i8", 2**40), ("f8", 1e9 + 0.25)])
def test_large_numbers_that_float32_holds_or_that_are_measured(dtype: str, large: float) -> None:
    known = voxels((4, 3, 2), dtype)
    known[1, 1, 1] = large
    volume = read_bytes(nifti(known))
    np.testing.assert_array_equal(volume.voxels[0], known.astype(np.float32))
    assert volume.notes == ()


def test_large_whole_numbers_in_float64_are_rounded_with_a_note() -> None:
    known = voxels((4, 3, 2), "f8")
    known[1, 1, 1] = 2**24 + 1
    volume = read_bytes(nifti(known))
    assert volume.voxels[0, 1, 1, 1] == 2**24
    assert len(volume.notes) == 1 and "16777216" in volume.notes[0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pack", [bytes, zipped])
def test_nifti_2(order: str, pack: object) -> None:
    content = pack(nifti(order=order, version=2))

    volume = read_bytes(content)

    assert READER.claims(content[:352])
    np.testing.assert_array_equal(volume.voxels[0], voxels((4, 3, 2)))
    np.testing.assert_array_equal(volume.geometry.matrix, AFFINE)


@pytest.mark.parametrize("name", ["anatomical.nii", "reoriented_anat_moved.nii", "standard.nii.gz"])
def test_files_that_nibabel_ships_are_as_nibabel_reads_them(name: str) -> None:
    image = nib.load(SHIPPED / name)

    volume = read_bytes((SHIPPED / name).read_bytes())

    np.testing.assert_array_equal(volume.voxels[0], np.asarray(image.get_fdata(), dtype=np.float32))
    np.testing.assert_allclose(volume.geometry.matrix, image.affine, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("example4d.nii.gz", "NOT_3D"),
        ("example_nifti2.nii.gz", "NOT_3D"),
        ("functional.nii", "NOT_3D"),
        ("row_major.dconn.nii", "NOT_3D"),
        ("resampled_anat_moved.nii", "NOT_FINITE"),
        ("nifti1.hdr", "NOT_SUPPORTED"),
        ("nifti2.hdr", "NOT_SUPPORTED"),
        ("analyze.hdr", "NOT_SUPPORTED"),
    ],
)
def test_files_that_nibabel_ships_and_that_are_no_volume(name: str, code: str) -> None:
    content = (SHIPPED / name).read_bytes()

    assert READER.claims(content[:352])
    assert code_of(content) == code


@pytest.mark.parametrize("slope", [0.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("intercept", [5.0, math.nan])
def test_a_slope_that_means_nothing_is_no_scaling(slope: float, intercept: float) -> None:
    volume = read_bytes(nifti(slope=slope, intercept=intercept))

    np.testing.assert_array_equal(volume.voxels[0], voxels((4, 3, 2)))


def test_scaling() -> None:
    np.testing.assert_array_equal(
        read_bytes(nifti(slope=0.5, intercept=-1024.0)).voxels[0], voxels((4, 3, 2)) * 0.5 - 1024
    )
    assert code_of(nifti(slope=2.0, intercept=math.nan)) == "BAD_VALUE"
    assert code_of(nifti(slope=2.0, intercept=math.inf)) == "BAD_VALUE"


@pytest.mark.parametrize("seed", range(20))
def test_the_qform_is_nibabels(seed: int) -> None:
    random = np.random.default_rng(seed)
    quaternion = random.normal(size=4)
    quaternion *= np.sign(quaternion[0]) / np.linalg.norm(quaternion)
    given = {
        "sform_code": 0,
        "qform_code": 1,
        "quatern": quaternion[1:],
        "qoffset": random.normal(size=3) * 100,
        "pixdim": [random.choice([-1, 0, 1]), *random.uniform(0.3, 5, 3), 1, 1, 1, 1],
    }
    content = nifti(**given)
    expected = nib.Nifti1Header(nifti(**(given | {"pixdim": [given["pixdim"][0] or 1, *given["pixdim"][1:]]}))[:348])

    np.testing.assert_allclose(read_bytes(content).geometry.matrix, expected.get_qform(), rtol=0, atol=1e-4)


def test_the_sform_goes_before_the_qform_and_their_disagreement_is_noted() -> None:
    agreeing = {"qform_code": 1, "quatern": (0, 0, 1), "qoffset": (30, 20, -10)}  # a half turn about z
    assert read_bytes(nifti(**agreeing)).notes == ()

    volume = read_bytes(nifti(**(agreeing | {"qoffset": (30, 21, -10)})))

    np.testing.assert_array_equal(volume.geometry.matrix, AFFINE)
    assert volume.notes == ("qform and sform place the corner voxels up to 1 mm apart; the sform is used",)


def test_a_broken_qform_beside_a_good_sform_is_noted() -> None:
    volume = read_bytes(nifti(qform_code=1, quatern=(0, 0, 1.5)))

    assert volume.notes == ("the sform is used; the qform is unusable: the quaternion of the qform has the length 1.5",)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"sform_code": 0}, "NO_GEOMETRY"),
        ({"sform": ((0.0,) * 4,) * 3}, "NO_GEOMETRY"),
        ({"sform": (SFORM[0], SFORM[0], SFORM[2])}, "NO_GEOMETRY"),
        ({"sform": (SFORM[0], SFORM[1], (0.0, 0.0, math.nan, 0.0))}, "BAD_VALUE"),
        ({"sform": ((-2.0, 0.3, 0.0, 30.0), *SFORM[1:])}, "SHEAR"),
        ({"sform_code": 0, "qform_code": 1, "pixdim": (1, 2, 2, 0, 1, 1, 1, 1)}, "NO_GEOMETRY"),
        ({"sform_code": 0, "qform_code": 1, "pixdim": (1, 2, -2, 3, 1, 1, 1, 1)}, "BAD_VALUE"),
        ({"sform_code": 0, "qform_code": 1, "pixdim": (1, math.nan, 2, 3, 1, 1, 1, 1)}, "BAD_VALUE"),
        ({"sform_code": 0, "qform_code": 1, "quatern": (1, 1, 0)}, "BAD_VALUE"),
        ({"units": 5}, "BAD_VALUE"),
        ({"dim": (3, 4, -3, 2)}, "BAD_HEADER"),
        ({"dim": (3, 4, 0, 2)}, "BAD_HEADER"),
        ({"dim": (0, 4, 3, 2)}, "BAD_HEADER"),
        ({"dim": (8, 4, 3, 2)}, "BAD_HEADER"),
        ({"dim": (-3, 4, 3, 2)}, "BAD_HEADER"),
        ({"dim": (3, 32767, 32767, 32767)}, "BAD_HEADER"),
        ({"dim": (7, *[32767] * 7)}, "NOT_3D"),
        ({"dim": (3, 4, 3, 3)}, "TRUNCATED"),
        ({"dim": (3, 4, 3, 1)}, "BAD_HEADER"),
        ({"dim": (1, 24)}, "NOT_3D"),
        ({"dim": (4, 4, 3, 1, 2)}, "NOT_3D"),
        ({"dim": (5, 4, 3, 1, 1, 2)}, "NOT_3D"),
        ({"datatype": 0}, "BAD_HEADER"),
        ({"datatype": 3}, "BAD_HEADER"),
        ({"datatype": 1}, "NOT_SUPPORTED"),
        ({"datatype": 1536}, "NOT_SUPPORTED"),
        ({"datatype": 32}, "NOT_REAL"),
        ({"datatype": 1792}, "NOT_REAL"),
        ({"vox_offset": 0.0}, "BAD_HEADER"),
        ({"vox_offset": -1e9}, "BAD_HEADER"),
        ({"vox_offset": 352.5}, "BAD_HEADER"),
        ({"vox_offset": math.nan}, "BAD_HEADER"),
        ({"vox_offset": 1e30}, "BAD_HEADER"),
        ({"vox_offset": 4000.0}, "BAD_HEADER"),
        ({"magic": b"ni1\0"}, "NOT_SUPPORTED"),
        ({"magic": b"\0\0\0\0"}, "NOT_SUPPORTED"),
    ],
)
def test_what_cannot_be_trusted_is_refused(fields: dict[str, object], code: str) -> None:
    assert code_of(nifti(**fields)) == code


@pytest.mark.parametrize(("units", "scale"), [(1, 1000.0), (3, 0.001), (2 + 8, 1.0)])
def test_units_of_length_become_millimetres(units: int, scale: float) -> None:
    volume = read_bytes(nifti(units=units))

    np.testing.assert_allclose(volume.geometry.matrix[:3], AFFINE[:3] * scale)
    assert len(volume.notes) == (scale != 1.0)


def test_an_unknown_unit_is_millimetres_with_a_note() -> None:
    volume = read_bytes(nifti(units=0))

    np.testing.assert_array_equal(volume.geometry.matrix, AFFINE)
    assert "millimetres, as the standard's default" in volume.notes[0]


def test_a_fourth_dimension_of_one_is_squeezed() -> None:
    for shape in ((4, 3, 2, 1), (4, 3, 2, 1, 1)):
        volume = read_bytes(nifti(voxels((4, 3, 2)).reshape(shape)))
        np.testing.assert_array_equal(volume.voxels[0], voxels((4, 3, 2)))


@pytest.mark.parametrize("column", [(0.0, 0.0, 3.0), (0.0, 0.0, 0.0)])
def test_a_single_image(column: tuple[float, float, float]) -> None:
    sform = tuple((*row[:2], value, row[3]) for row, value in zip(SFORM, column, strict=True))

    volume = read_bytes(nifti(voxels((4, 3)), sform=sform))

    assert volume.is_2d and volume.geometry.shape == (4, 3, 1)
    np.testing.assert_array_equal(volume.voxels[0, :, :, 0], voxels((4, 3)))
    assert volume.geometry.spacing == (2.0, 1.5, 3.0 if any(column) else 1.0)
    assert bool(volume.notes) is not any(column)


@pytest.mark.parametrize(("code", "stored"), [(128, 3), (2304, 4)])
def test_colour_becomes_channels(code: int, stored: int) -> None:
    known = np.random.default_rng(1).integers(0, 255, (stored, 4, 3, 2), dtype=np.uint8)
    content = header1((3, 4, 3, 2), code) + b"\0" * 4 + known.tobytes(order="F")

    volume = read_bytes(content)

    np.testing.assert_array_equal(volume.voxels, known[:3])
    assert volume.notes == (("the alpha channel was dropped",) if stored == 4 else ())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_voxels_that_are_no_numbers(bad: float) -> None:
    known = voxels((4, 3, 2), "f8")
    known[1, 1, 1] = bad

    with pytest.raises(RejectedInput, match="1 of 24 voxels") as caught:
        read_bytes(nifti(known))
    assert (caught.value.code, caught.value.path) == ("NOT_FINITE", "/scans/a.nii")


def test_a_constant_volume_is_flagged_and_read() -> None:
    assert read_bytes(nifti(np.full((4, 3, 2), 7, "i2"))).notes == ("CONSTANT: every voxel is 7",)


def test_gzip_is_read_to_its_end() -> None:
    whole = zipped(nifti(voxels((20, 10, 5))))

    assert read_bytes(whole).voxels.shape == (1, 20, 10, 5)
    assert read_bytes(whole + b"\0" * 512).voxels.shape == (1, 20, 10, 5)
    for cut in (1, 4, 8, 9, 50, len(whole) // 2):
        assert code_of(whole[:-cut]) == "TRUNCATED"
    for position in (-1, -5):  # length and checksum of the trailer
        damaged = bytearray(whole)
        damaged[position] ^= 1
        assert code_of(bytes(damaged)) == "CORRUPT"


def test_gzip_of_several_members() -> None:
    content = nifti()

    assert read_bytes(gzip.compress(content[:300]) + gzip.compress(content[300:])).voxels.shape == (1, 4, 3, 2)


def test_gzip_of_blocks_as_bgzip_writes_it() -> None:
    array = np.arange(200 * 160 * 100, dtype="i2").reshape(200, 160, 100)
    content = nifti(array)
    blocks = [content[at : at + 160] for at in range(0, len(content), 160)]
    assert len(blocks) > 40_000
    packed = b"".join(gzip.compress(block, 0) for block in blocks)
    started = time.process_time()
    volume = read_bytes(packed + gzip.compress(b""))
    assert time.process_time() - started < 2.0
    np.testing.assert_array_equal(volume.voxels[0], array)


@pytest.mark.parametrize("size", [4, 400, 600])
def test_a_flood_of_empty_gzip_members_ends_soon(size: int) -> None:
    flood = gzip.compress(nifti(voxels((4, 3, 2)))[:size]) + gzip.compress(b"") * 1_000_000
    started = time.process_time()
    assert code_of(flood) in ("TRUNCATED", "CORRUPT")
    assert time.process_time() - started < 1.0


def test_joined_gzip_files_with_their_empty_ends_are_read() -> None:
    content = nifti(voxels((4, 3, 2)))
    joined = b"".join(gzip.compress(content[at : at + 40]) + gzip.compress(b"") for at in range(0, len(content), 40))
    assert read_bytes(joined).voxels.shape == (1, 4, 3, 2)


def test_no_flipped_bit_of_a_gzipped_file_changes_a_voxel() -> None:
    content = nifti(np.random.default_rng(0).integers(-900, 900, (6, 5, 4)).astype("i2"))
    whole = zipped(content)
    expected = read_bytes(whole).voxels
    refused = 0
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            volume = read_bytes(bytes(damaged))
        except RejectedInput:
            refused += 1
        else:  # the time in the gzip header, or another way to write the same bytes
            np.testing.assert_array_equal(volume.voxels, expected)
    assert refused > 0.95 * len(whole) * 8


def test_a_gzip_bomb_is_not_inflated() -> None:
    bomb = zlib.compressobj(9, wbits=31)
    content = bomb.compress(nifti()) + b"".join(bomb.compress(bytes(2**20)) for _ in range(64)) + bomb.flush()

    with pytest.raises(RejectedInput, match="more than the 400 bytes") as caught:
        read_bytes(content)
    assert caught.value.code == "CORRUPT"


def test_a_volume_over_the_limit_is_refused_by_its_header() -> None:
    content = nifti(np.zeros((40, 40, 40), "u1"))
    options = ReadOptions(modality="CT", max_bytes=200_000)  # 64,000 bytes, four times that as float32

    assert code_of(content, options) == "TOO_LARGE"
    assert code_of(zipped(content), options) == "TOO_LARGE"
    assert code_of(zipped(nifti(dim=(3, 2000, 2000, 2000))), options) == "BAD_HEADER"


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "plain.nii.gz").write_bytes(nifti())
    (tmp_path / "zipped.nii").write_bytes(zipped(nifti()))
    (tmp_path / "no_name").write_bytes(nifti())
    (tmp_path / "text.nii").write_bytes(b"this is no image")
    (tmp_path / "notes.txt").write_bytes(b"neither is this")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    (tmp_path / "short.nii").write_bytes(nifti()[:100])

    found = discover(tmp_path, OPTIONS)

    assert [series.key for series in found.series] == ["no_name", "plain.nii.gz", "zipped.nii"]
    for series in found.series:
        np.testing.assert_array_equal(read(series, OPTIONS).voxels[0], voxels((4, 3, 2)))
    assert {refusal.file.relative: refusal.code.value for refusal in found.refusals} == {
        "empty.nii.gz": "TRUNCATED",
        "notes.txt": "NOT_AN_IMAGE",
        "short.nii": "TRUNCATED",
        "text.nii": "BAD_HEADER",
    }


def test_a_series_says_what_the_header_says() -> None:
    series = series_of(nifti())

    assert series.attributes == {
        "columns": "4",
        "rows": "3",
        "slices": "2",
        "plane": Plane.AXIAL.value,
        "spacing": "2x1.5x3",
    }
    assert (series.reader, series.key, series.modality, series.stack) == ("nifti", "a.nii", "CT", 0)


def test_a_modality_is_never_guessed() -> None:
    unknown = ReadOptions()
    series = series_of(nifti(), unknown)

    assert series.modality == ""
    with pytest.raises(RejectedInput) as caught:
        READER.read(series, lambda file: nifti(), unknown)
    assert caught.value.code == "NO_MODALITY"
    assert READER.read(series, lambda file: nifti(), ReadOptions(modality="PT")).modality == "PT"


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 399), value=st.integers(0, 255))
def test_no_changed_byte_makes_anything_but_a_volume_or_a_refusal(position: int, value: int) -> None:
    content = bytearray(nifti())
    content[position] = value

    try:
        volume = read_bytes(bytes(content))
    except RejectedInput:
        return
    assert np.isfinite(volume.voxels).all()


@pytest.mark.parametrize("content", [nifti(), zipped(nifti()), nifti(order=">", version=2)])
def test_the_header_is_read_from_the_beginning_of_a_file(content: bytes) -> None:
    """What follows the header need not be at hand; a beginning that is shorter asks for the rest."""
    file = SourceFile(Path("/a.nii"), "a.nii", len(content))
    expected = READER.inspect(file, content, OPTIONS)
    answers = []
    for length in range(1, len(content)):
        try:
            answers.append(READER.inspect(file, content[:length], OPTIONS) == expected)
        except HeaderCutError:
            answers.append(None)
    assert answers[0] is None
    assert answers[-1] is True
    assert False not in answers
    if not content.startswith(b"\x1f\x8b"):  # which only reading finds cut off
        with pytest.raises(RejectedInput, match="bytes"):
            READER.inspect(SourceFile(Path("/a.nii"), "a.nii", len(content) - 1), content[:-1], OPTIONS)
