"""DICOM: what the stored values mean, and how they are stored."""

import numpy as np
from phantoms.dicom_series import make_voxels
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from oddities.images import (
    colour,
    htj2k,
    j2k,
    jpeg,
    jpeg_12,
    jpeg_ls,
    lossy_htj2k,
    lossy_j2k,
    modality_table,
    padded,
    palette,
    pet,
    rubbish,
    shared_chroma,
    sof3,
    stored,
    streams,
    ybr,
)
from oddities.row import Oddity, Phantom
from oddities.series import VOXELS, refused, series
from pipeline.domain.codes import Code
from pipeline.readers.options import ReadOptions

SLOPES = 0.5 + np.arange(6)
SIGNED = make_voxels((6, 5, 6), low=-2048, high=2048, dtype=np.int16)
SUV = ReadOptions(suv=True)
PIXELS, STREAMS, COLOUR, TABLES, SUVS = (
    f"readers/test_dicom_{name}.py" for name in ("pixels", "streams", "colour", "tables", "suv")
)
LOSSLESS = [
    ("implicit", stored(VOXELS, transfer_syntax=ImplicitVRLittleEndian)),
    ("explicit", stored(VOXELS, transfer_syntax=ExplicitVRLittleEndian)),
    ("big endian", stored(VOXELS, transfer_syntax=ExplicitVRBigEndian)),
    ("deflated", stored(VOXELS, transfer_syntax=DeflatedExplicitVRLittleEndian)),
    ("RLE", stored(VOXELS, transfer_syntax=RLELossless)),
    ("JPEG lossless .57", streams(sof3, JPEGLossless, 12)),
    ("JPEG lossless .70", streams(sof3, JPEGLosslessSV1, 12)),
    ("JPEG-LS .80", stored(VOXELS, transfer_syntax=JPEGLSLossless)),
    ("JPEG 2000 .90", streams(j2k, JPEG2000Lossless, 12)),
    ("HTJ2K .201", streams(htj2k, HTJ2KLossless, 12)),
    ("HTJ2K .202", streams(htj2k, HTJ2KLosslessRPCL, 12)),
]
LOSSY = [
    ("JPEG .50", streams(jpeg, JPEGBaseline8Bit, 8, np.uint8), 8.0),
    ("JPEG .51, 12 bits", streams(jpeg_12, JPEGExtended12Bit, 12), 60.0),
    ("JPEG-LS .81", streams(jpeg_ls, JPEGLSNearLossless, 12), 2.0),
    ("JPEG 2000 .91", streams(lossy_j2k, JPEG2000, 12), 60.0),
    ("HTJ2K .203", streams(lossy_htj2k, HTJ2K, 12), 100.0),
]

ROWS = (
    Oddity(
        "rescale: a slope a slice, none at all, a Modality LUT",
        "right",
        (
            Phantom(
                "a slope a slice (PET)",
                stored(VOXELS, VOXELS * SLOPES, modality="PT", slope=list(SLOPES), intercept=[0.0] * 6),
            ),
            Phantom("none", stored(VOXELS, modality="MR", slope=None)),
            Phantom("a table of 8 bits in OW", modality_table),
        ),
        (f"{PIXELS}::test_rescale", f"{TABLES}::test_a_modality_table_gives_output_units"),
    ),
    Oddity(
        "signed, rubbish above the stored bits",
        "right",
        (
            Phantom("16 bits signed", stored(SIGNED)),
            Phantom("12 bits signed", stored(SIGNED, bits_stored=12)),
            Phantom("12 bits, rubbish above", stored(VOXELS, edit=rubbish)),
        ),
        (f"{PIXELS}::test_depth_sign_and_transfer_syntax", f"{PIXELS}::test_rubbish_above_the_stored_bits_is_cut_off"),
    ),
    Oddity(
        "MONOCHROME1",
        "larger is brighter; refused where values have a unit",
        (
            Phantom("MR", stored(VOXELS, 65535 - VOXELS.astype(float), modality="MR", photometric="MONOCHROME1")),
            Phantom("CT", refused(stored(VOXELS, photometric="MONOCHROME1")), (Code.NOT_SUPPORTED,)),
        ),
        (f"{PIXELS}::test_monochrome1_is_inverted_so_that_larger_is_brighter",),
    ),
    Oddity(
        "PixelPaddingValue",
        "masked, never in statistics",
        (Phantom("a value", padded),),
        (
            f"{PIXELS}::test_padding_is_masked",
            "preprocessing/test_fingerprint.py::test_padding_and_air_stay_out_of_ct_statistics",
        ),
    ),
    Oddity(
        "colour: YBR_FULL, YBR_FULL_422, palette",
        "RGB",
        (
            Phantom("RGB", colour("RGB", lambda rgb: None, lambda rgb: rgb)),
            Phantom("YBR_FULL", colour("YBR_FULL", lambda rgb: None, ybr), atol=2),
            Phantom("YBR_FULL_422", colour("YBR_FULL_422", shared_chroma, ybr), atol=2),
            Phantom("palette of 8 bits", palette(8)),
            Phantom("palette of 16 bits", palette(16)),
        ),
        (f"{COLOUR}::test_ybr_full_422", f"{TABLES}::test_a_palette_becomes_rgb"),
    ),
    Oddity(
        "every transfer syntax",
        "right; a missing codec is NO_CODEC",
        (
            *(Phantom(name, writing) for name, writing in LOSSLESS),
            *(Phantom(name, writing, atol=error) for name, writing, error in LOSSY),
        ),
        (
            "readers/test_dicom_transfer_syntaxes.py::test_every_transfer_syntax_is_read_out_of_the_box",
            "readers/test_dicom_pixel_data.py::test_a_missing_codec_is_named",
        ),
    ),
    Oddity(
        "JPEG 2000 of another sign or depth than the header",
        "right, or BAD_PIXELS",
        (
            Phantom("12 bits under a header of 16", streams(j2k, JPEG2000Lossless, 12, said=16)),
            Phantom(
                "12 bits under a header of 10",
                refused(streams(j2k, JPEG2000Lossless, 12, said=10)),
                (Code.BAD_PIXELS,),
            ),
        ),
        (
            f"{STREAMS}::test_signed_header_over_an_unsigned_jpeg_2000_stream",
            f"{STREAMS}::test_jpeg_2000_of_another_depth_than_the_header_says",
        ),
    ),
    Oddity(
        "a constant image",
        "flagged CONSTANT",
        (Phantom("all 7", stored(np.full((6, 5, 6), 7, np.uint16)), note="CONSTANT"),),
        (f"{PIXELS}::test_a_constant_image_is_read_or_flagged",),
    ),
    Oddity(
        "PET without the tags for SUV, when SUV is asked for",
        "NO_SUV",
        (
            Phantom(
                "all tags",
                stored(VOXELS, VOXELS * (70e3 / 185e6), modality="PT", edit=pet()),
                options=SUV,
                note="SUV",
                atol=1e-6,
            ),
            Phantom("no weight", refused(series(modality="PT", edit=pet(PatientWeight=0))), (Code.NO_SUV,), SUV),
            Phantom("not asked for", stored(VOXELS, modality="PT", edit=pet(PatientWeight=0))),
        ),
        (f"{SUVS}::test_suv_is_what_the_formula_gives", f"{SUVS}::test_what_is_missing_or_cannot_be_meant_is_named"),
    ),
)
