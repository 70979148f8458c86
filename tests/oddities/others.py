"""NIfTI and pictures, and what tables of labels and splits get wrong."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from phantoms.niftis import SFORM, nifti, voxels, zipped
from phantoms.pictures import png
from phantoms.readings import Truth
from PIL import Image

from oddities.row import Oddity, Phantom, Write
from pipeline.domain.codes import Code
from pipeline.readers.options import ReadOptions

MR, PHOTO = ReadOptions(modality="MR"), ReadOptions(modality="OP")
VOXELS = voxels((4, 3, 2))
PLACE = np.array([*SFORM, (0, 0, 0, 1)])
SHEARED = ((2.0, 0.5, 0.0, 0.0), (0.0, 1.5, 0.0, 0.0), (0.0, 0.0, 3.0, 0.0))
PICTURE = np.random.default_rng(4).integers(0, 256, (12, 16, 3)).astype(np.uint8)


def file(name: str, content: bytes, values: Any = None, place: NDArray[Any] = PLACE) -> Write:
    """One file; `values` (i, j, k) or (i, j, k, 3) must come out, None: nothing."""

    def writing(folder: Path) -> list[Truth] | None:
        (folder / name).write_bytes(content)
        return None if values is None else [(values, place)]

    return writing


def good(name: str, what: str, content: bytes, values: Any = VOXELS, note: str = "") -> Phantom:
    return Phantom(what, file(name, content, values), options=MR, note=note)


def bad(name: str, what: str, content: bytes, *codes: Code) -> Phantom:
    return Phantom(what, file(name, content), codes, MR)


def flipped(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 0x10
    return bytes(changed)


def colour_nifti() -> tuple[bytes, NDArray[Any]]:
    """RGB24: three bytes a voxel."""
    rgb = np.random.default_rng(2).integers(0, 256, (4, 3, 2, 3)).astype(np.uint8)
    content = np.ascontiguousarray(rgb.transpose(2, 1, 0, 3)).tobytes()
    return nifti(dim=(3, 4, 3, 2), datatype=128)[:352] + content, rgb


def picture(form: str, mode: str, **more: Any) -> bytes:
    out = BytesIO()
    Image.fromarray(PICTURE).convert(mode).save(out, form, **more)
    return out.getvalue()


def turned() -> bytes:
    """EXIF orientation 6: to be turned by 90 degrees to the right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return picture("PNG", "RGB", exif=exif)


def pixels(what: str, content: bytes, rows: Any, atol: float = 0.0) -> Phantom:
    """A picture of these rows (j, i) or (j, i, 3)."""
    values = np.swapaxes(np.asarray(rows), 0, 1)[:, :, np.newaxis]
    return Phantom(what, file("a.png", content, values, np.eye(4)), options=PHOTO, atol=atol)


RGB24, RGB = colour_nifti()
INDEXED = Image.fromarray(PICTURE).quantize(16)
DEEP = np.random.default_rng(5).integers(0, 65536, (12, 16, 1)).astype(np.uint16)
NIFTI, PICTURES = "readers/test_nifti.py", "readers/test_picture.py"
SPLITS, ACCOUNTS = "stages/test_ingest_splits.py", "stages/test_ingest_accounts.py"
LABELS, JOIN = "cohort/test_label_values.py", "cohort/test_label_join.py"
ZIPPED, LONG = zipped(nifti()), zipped(nifti(voxels((12, 11, 10))))


def saved(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def smooth_jpeg(mode: str) -> tuple[bytes, NDArray[Any]]:
    i, j = np.meshgrid(np.linspace(0, 200, 16), np.linspace(0, 200, 12))
    rows = np.stack([i, j, (i + j) / 2], axis=-1).astype(np.uint8) if mode == "RGB" else i.astype(np.uint8)
    out = BytesIO()
    Image.fromarray(rows).save(out, "JPEG", quality=98, subsampling=0)
    return out.getvalue(), rows


JPEG: Callable[[str], Phantom] = lambda mode: pixels(f"JPEG, {mode}", *smooth_jpeg(mode), atol=6)  # noqa: E731

ROWS = (
    Oddity(
        "a gzipped file truncated, with a wrong checksum, with a flipped bit",
        "TRUNCATED, CORRUPT",
        (
            bad("a.nii.gz", "truncated", LONG[:-12], Code.TRUNCATED),
            bad("a.nii.gz", "wrong checksum", flipped(LONG, -6), Code.CORRUPT),
            bad("a.nii.gz", "flipped bit", flipped(LONG, 60), Code.CORRUPT, Code.BAD_HEADER, Code.TRUNCATED),
        ),
        (f"{NIFTI}::test_gzip_is_read_to_its_end", f"{NIFTI}::test_no_flipped_bit_of_a_gzipped_file_changes_a_voxel"),
    ),
    Oddity(
        "a plain file named .gz, a gzipped one named .nii",
        "right: told by content",
        (good("a.nii.gz", "plain", nifti()), good("a.nii", "gzipped", ZIPPED), good("a", "no ending", nifti())),
        (f"{NIFTI}::test_content_decides_not_the_name",),
    ),
    Oddity(
        "sizes that explode, negative sizes, voxels beyond the file",
        "BAD_HEADER without memory",
        (
            bad("a.nii.gz", "bomb", zipped(nifti(dim=(3, 30000, 30000, 30000))), Code.BAD_HEADER),
            bad("a.nii", "negative", nifti(dim=(3, -4, 3, 2)), Code.BAD_HEADER),
            bad("a.nii", "beyond", nifti(vox_offset=1e6), Code.BAD_HEADER),
        ),
        (f"{NIFTI}::test_what_cannot_be_trusted_is_refused", f"{NIFTI}::test_a_gzip_bomb_is_not_inflated"),
    ),
    Oddity(
        "slope NaN, 0 or infinite, intercept NaN",
        "no scaling; BAD_VALUE",
        (
            *(good("a.nii", f"slope {slope}", nifti(slope=slope)) for slope in (float("nan"), 0.0, float("inf"))),
            good("a.nii", "slope 2.5", nifti(slope=2.5, intercept=-7.0), VOXELS * 2.5 - 7),
            bad("a.nii", "intercept NaN", nifti(slope=2.0, intercept=float("nan")), Code.BAD_VALUE),
        ),
        (f"{NIFTI}::test_a_slope_that_means_nothing_is_no_scaling",),
    ),
    Oddity(
        "qform and sform disagree, neither set, zero, sheared",
        "the sform with a note; NO_GEOMETRY; SHEAR, or resampled when asked",
        (
            good(
                "a.nii", "disagree", nifti(qform_code=1, quatern=(0, 0, 1), qoffset=(90, 0, 0)), note="qform and sform"
            ),
            bad("a.nii", "neither", nifti(sform_code=0), Code.NO_GEOMETRY),
            bad("a.nii", "zero", nifti(sform=((0,) * 4,) * 3), Code.NO_GEOMETRY),
            bad("a.nii", "sheared", nifti(sform=SHEARED), Code.SHEAR),
            bad("a.nii", "1e30 mm away", nifti(sform=((1, 0, 0, 1e30), (0, 1, 0, 0), (0, 0, 1, 0))), Code.BAD_VALUE),
        ),
        (
            f"{NIFTI}::test_the_sform_goes_before_the_qform_and_their_disagreement_is_noted",
            "readers/test_mending.py::test_a_sheared_nifti_is_resampled",
        ),
    ),
    Oddity(
        "4D with one volume, with several",
        "squeezed, NOT_3D",
        (
            good("a.nii", "one", nifti(VOXELS[..., np.newaxis])),
            bad("a.nii", "several", nifti(np.stack([VOXELS] * 3, axis=-1)), Code.NOT_3D),
        ),
        (f"{NIFTI}::test_a_fourth_dimension_of_one_is_squeezed",),
    ),
    Oddity(
        "RGB, complex numbers, NaN, big endian",
        "channels, NOT_REAL, NOT_FINITE, right",
        (
            good("a.nii", "RGB", RGB24, RGB),
            bad("a.nii", "complex", nifti(VOXELS.astype("c8")), Code.NOT_REAL),
            bad("a.nii", "NaN", nifti(np.where(VOXELS == 11, np.nan, VOXELS).astype("f4")), Code.NOT_FINITE),
            bad("a.nii", "infinity", nifti(np.where(VOXELS == 11, np.inf, VOXELS).astype("f8")), Code.NOT_FINITE),
            good("a.nii", "big endian", nifti(order=">")),
            good("a.nii", "NIfTI-2", nifti(version=2)),
        ),
        (f"{NIFTI}::test_every_number_type_in_both_byte_orders", f"{NIFTI}::test_colour_becomes_channels"),
    ),
    Oddity(
        "PNG and JPEG: grey, RGB, palette, 16 bits, turned by EXIF, broken",
        "right, CORRUPT",
        (
            pixels("PNG, grey", picture("PNG", "L"), Image.fromarray(PICTURE).convert("L")),
            pixels("PNG, RGB", picture("PNG", "RGB"), PICTURE),
            pixels("PNG, palette", saved(INDEXED), INDEXED.convert("RGB")),
            pixels("PNG, 16 bits", png(DEEP.astype(">u2"), 0), DEEP[..., 0]),
            pixels("PNG, turned", turned(), np.rot90(PICTURE, -1)),
            JPEG("L"),
            JPEG("RGB"),
            Phantom("broken", file("a.png", flipped(picture("PNG", "RGB"), 90)), (Code.CORRUPT,), PHOTO),
        ),
        (
            f"{PICTURES}::test_png_of_every_colour_type_depth_and_filter",
            f"{PICTURES}::test_exif_orientation_is_applied",
        ),
    ),
    Oddity(
        "a patient in two splits, the same pixels under two patients in two splits",
        "stop, exit status 1, both named by pseudonym; on only when acknowledged",
        (),
        (
            f"{SPLITS}::test_a_patient_in_two_splits_stops_until_it_is_acknowledged",
            f"{SPLITS}::test_the_same_pixels_under_two_patients_in_two_splits_stop",
            "cohort/test_leaks.py::test_the_message_names_both_and_the_way_on",
            "evaluation/test_report.py::test_it_says_what_to_be_careful_about",
        ),
    ),
    Oddity(
        "a label missing, unknown, of one class only; fewer patients than folds",
        "unknown stays unknown; stop with line and column",
        (),
        (
            f"{LABELS}::test_a_blank_is_unknown_and_never_negative",
            f"{LABELS}::test_a_strange_word_stops_by_line_and_is_not_repeated",
            f"{LABELS}::test_one_class_only_stops_with_the_column",
            "cohort/test_splits.py::test_too_few_patients_of_a_class_stop_and_name_it",
        ),
    ),
    Oddity(
        "a table with a byte order mark, semicolons, leading zeros, double ids, Windows line ends",
        "kept as they are; stop",
        (),
        (
            "cohort/test_label_file.py::test_an_export_of_excel_is_read_whole",
            "cohort/test_label_file.py::test_the_delimiter_is_seen_in_the_header",
            f"{JOIN}::test_a_repeated_row_counts_once_and_a_contradiction_stops",
            f"{JOIN}::test_damage_is_listed_and_not_mended",
        ),
    ),
    Oddity(
        "a label for no scan, a scan for no label",
        "listed, counted, exit status 3",
        (),
        (
            f"{ACCOUNTS}::test_labels_and_scans_that_do_not_cover_each_other_are_listed",
            f"{ACCOUNTS}::test_either_gap_of_coverage_makes_exit_status_3",
        ),
    ),
    Oddity(
        "anything else: damaged bytes of any kind",
        "a code, or NOT_SUPPORTED: never read wrong",
        (),
        (
            "readers/test_dicom_files.py::test_flipped_bytes_never_raise_anything_else",
            f"{NIFTI}::test_no_changed_byte_makes_anything_but_a_volume_or_a_refusal",
            f"{PICTURES}::test_no_changed_byte_of_a_jpeg_makes_anything_but_a_picture_or_a_refusal",
            "contracts/test_readers.py::test_damaged_bytes_end_in_a_volume_or_a_refusal",
        ),
    ),
)
