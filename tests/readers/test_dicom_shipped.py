"""The real files that pydicom ships: each is read as pydicom itself decodes it, or refused with a code listed here."""

import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import openjpeg
import pydicom
import pytest
from numpy.typing import NDArray
from phantoms.readings import Reading, read_folder
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.processing import apply_color_lut

from pipeline.domain.codes import SKIPS, Code
from pipeline.domain.geometry import Unit
from pipeline.readers.options import ReadOptions

SHIPPED = Path(pydicom.__file__).parent / "data"
"""What lies in the package; nothing is downloaded."""

READ = "read"
NO_IMAGE = {Code.NOT_AN_IMAGE}
HEADER_ONLY = {Code.TRUNCATED, Code.NOT_AN_IMAGE, Code.BAD_HEADER}
"""Image objects from which the authors took the pixels, and odd headers without an image."""
NOT_YET = {READ, Code.NOT_SUPPORTED}
CINE = {Code.NOT_SUPPORTED}

EXPECTED: dict[str, set[str]] = {
    **{
        f"chr{name}.dcm": {READ}
        for name in "Arab Fren FrenMulti Germ Greek H31 H32 Hbrw I2 Russ X1 X2".split()  # noqa: SIM905
    },
    "chrJapMulti.dcm": HEADER_ONLY,
    "chrJapMultiExplicitIR6.dcm": HEADER_ONLY,
    "chrKoreanMulti.dcm": HEADER_ONLY,
    "chrSQEncoding.dcm": HEADER_ONLY,
    "chrSQEncoding1.dcm": HEADER_ONLY,
    "693_J2KI.dcm": {READ},
    "CT_small.dcm": {READ},
    "ExplVR_BigEnd.dcm": {READ},
    "ExplVR_BigEndNoMeta.dcm": HEADER_ONLY,
    "ExplVR_LitEndNoMeta.dcm": NO_IMAGE,
    "GDCMJ2K_TextGBR.dcm": {READ},
    "J2K_pixelrep_mismatch.dcm": {READ, Code.BAD_PIXELS},
    "JPEG-lossy.dcm": {READ},
    "JPEG2000-embedded-sequence-delimiter.dcm": {Code.CORRUPT, Code.BAD_PIXELS},
    "JPEG2000.dcm": {READ},
    "JPEGLSNearLossless_08.dcm": {READ},
    "JPEGLSNearLossless_16.dcm": {READ},
    "JPGExtended.dcm": {READ},
    "MR_small.dcm": {READ},
    "MR_small_RLE.dcm": {READ},
    "MR_small_bigendian.dcm": {READ},
    "MR_small_expb.dcm": {READ},
    "MR_small_implicit.dcm": {READ},
    "MR_small_jp2klossless.dcm": {READ},
    "MR_small_jpeg_ls_lossless.dcm": {READ},
    "MR_small_padded.dcm": {READ},
    "MR_truncated.dcm": {Code.TRUNCATED},
    "SC_jpeg_no_color_transform.dcm": NOT_YET,
    "SC_jpeg_no_color_transform_2.dcm": NOT_YET,
    "SC_rgb_dcmtk_+eb+cr.dcm": NOT_YET,
    "SC_rgb_dcmtk_+eb+cy+n1.dcm": NOT_YET,
    "SC_rgb_dcmtk_+eb+cy+n2.dcm": NOT_YET,
    "SC_rgb_dcmtk_+eb+cy+np.dcm": NOT_YET,
    "SC_rgb_dcmtk_+eb+cy+s2.dcm": NOT_YET,
    "SC_rgb_dcmtk_+eb+cy+s4.dcm": NOT_YET,
    "SC_rgb_gdcm_KY.dcm": NOT_YET,
    "SC_rgb_jls_lossy_line.dcm": {READ},
    "SC_rgb_jls_lossy_sample.dcm": {READ},
    "SC_rgb_jpeg.dcm": NOT_YET | {Code.CORRUPT, Code.TRUNCATED},
    "SC_rgb_jpeg_app14_dcmd.dcm": NOT_YET,
    "SC_rgb_jpeg_dcmd.dcm": {READ},
    "SC_rgb_jpeg_dcmtk.dcm": NOT_YET,
    "SC_rgb_jpeg_gdcm.dcm": {READ},
    "SC_rgb_jpeg_lossy_gdcm.dcm": NOT_YET,
    "SC_rgb_rle.dcm": {READ},
    "SC_rgb_rle_16bit.dcm": NOT_YET,
    "SC_rgb_rle_16bit_2frame.dcm": CINE,
    "SC_rgb_rle_2frame.dcm": CINE,
    "SC_rgb_rle_32bit.dcm": NOT_YET,
    "SC_rgb_rle_32bit_2frame.dcm": CINE,
    "SC_rgb_small_odd.dcm": {READ},
    "SC_rgb_small_odd_big_endian.dcm": {READ},
    "SC_rgb_small_odd_jpeg.dcm": NOT_YET,
    "SC_ybr_full_422_uncompressed.dcm": NOT_YET,
    "UN_sequence.dcm": HEADER_ONLY,
    "badVR.dcm": NO_IMAGE,
    "empty_charset_LEI.dcm": HEADER_ONLY,
    "examples_jpeg2k.dcm": NOT_YET,
    "examples_overlay.dcm": {READ},
    "examples_palette.dcm": {READ},
    "examples_rgb_color.dcm": {READ},
    "examples_ybr_color.dcm": CINE,
    "image_dfl.dcm": {READ},
    "liver_1frame.dcm": NO_IMAGE,
    "liver_expb_1frame.dcm": NO_IMAGE,
    "meta_missing_tsyntax.dcm": HEADER_ONLY,
    "nested_priv_SQ.dcm": HEADER_ONLY,
    "no_meta.dcm": HEADER_ONLY,
    "no_meta_group_length.dcm": HEADER_ONLY,
    "priv_SQ.dcm": HEADER_ONLY,
    "reportsi.dcm": NO_IMAGE,
    "reportsi_with_empty_number_tags.dcm": NO_IMAGE,
    "rtdose.dcm": NO_IMAGE,
    "rtdose_1frame.dcm": NO_IMAGE,
    "rtdose_expb.dcm": NO_IMAGE,
    "rtdose_expb_1frame.dcm": NO_IMAGE,
    "rtdose_rle.dcm": NO_IMAGE,
    "rtdose_rle_1frame.dcm": NO_IMAGE,
    "rtplan.dcm": NO_IMAGE,
    "rtplan_truncated.dcm": NO_IMAGE | {Code.TRUNCATED},
    "rtstruct.dcm": NO_IMAGE,
    "test-SR.dcm": NO_IMAGE,
    "waveform_ecg.dcm": NO_IMAGE,
}
TWINS = "RLE bigendian expb implicit jp2klossless jpeg_ls_lossless padded".split()  # noqa: SIM905
"""Encodings of MR_small.dcm."""

FILES = {
    path.name: path
    for folder in ("test_files", "charset_files")
    for path in sorted((SHIPPED / folder).glob("*"))
    if path.is_file()
}


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reading]:
    """Each file read in a folder of its own."""
    root = tmp_path_factory.mktemp("shipped")
    found = {}
    for number, (name, path) in enumerate(FILES.items()):
        folder = root / str(number)
        folder.mkdir()
        shutil.copy(path, folder / name)
        found[name] = read_folder(folder, ReadOptions(modality="OT"))  # of those that do not say theirs
    return found


BY_SIMPLEITK = {
    "GDCMJ2K_TextGBR.dcm": "3afccfd017435a82",
    "JPEG-lossy.dcm": "5a14dfd887a29ac8",
    "JPGExtended.dcm": "5a14dfd887a29ac8",
    "SC_rgb_jpeg_gdcm.dcm": "89ad10bbda73de0d",
}
"""What pydicom cannot decode by itself: sha256 of what SimpleITK 2.5.7 reads, (rows, columns, samples) as <i4."""


def decoded(dataset: Dataset) -> NDArray[np.float64]:
    """(c, i, j, 1), rescaled, as pydicom decodes it; grey JPEG 2000 as OpenJPEG does."""
    pixels = dataset.pixel_array
    if "2000" in dataset.file_meta.TransferSyntaxUID.name and dataset.SamplesPerPixel == 1:
        pixels = openjpeg.decode(next(generate_frames(dataset.PixelData, number_of_frames=1)))
        if dataset.PixelRepresentation == 1:
            spare = 16 - dataset.BitsStored
            pixels = (pixels.astype(np.uint16) << spare).view(np.int16) >> spare
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        pixels = pixels >> 8 if pixels.dtype == np.uint16 else pixels
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = 2**dataset.BitsStored - 1 - pixels
    values = pixels * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    channels = np.moveaxis(values, -1, 0) if values.ndim == 3 else values[np.newaxis]
    return channels.swapaxes(1, 2)[..., np.newaxis]


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_read_right_or_refused_with_its_code(readings: dict[str, Reading], name: str) -> None:
    reading = readings[name]
    outcome = {READ} if reading.volumes else reading.codes
    if not name.endswith(".dcm"):
        assert outcome == ({Code.NOT_SUPPORTED} if name.endswith(".gz") else NO_IMAGE)  # DICOM, packed
        return
    if name in EXPECTED:  # a later pydicom may ship more
        assert outcome <= EXPECTED[name], reading.messages
    if reading.volumes:
        dataset = dcmread(FILES[name], force=True)
        volume = reading.volume
        if name in BY_SIMPLEITK:
            rows = np.ascontiguousarray(volume.voxels[..., 0].transpose(2, 1, 0).astype("<i4"))
            assert sha256(rows.tobytes()).hexdigest().startswith(BY_SIMPLEITK[name])
            return
        np.testing.assert_array_equal(volume.voxels, decoded(dataset).astype(np.float32))
        check_geometry(dataset, volume.geometry.matrix, volume.geometry.unit)


def check_geometry(dataset: Dataset, matrix: NDArray[np.float64], unit: Unit) -> None:
    """In-plane directions, spacing and the first voxel, straight from the header."""
    if "ImagePositionPatient" in dataset:
        turn = np.array([-1.0, -1.0, 1.0])
        cosines = np.array(dataset.ImageOrientationPatient, float)
        down, across = (float(value) for value in dataset.PixelSpacing)
        np.testing.assert_allclose(matrix[:3, 0], turn * cosines[:3] * across, atol=1e-5)
        np.testing.assert_allclose(matrix[:3, 1], turn * cosines[3:] * down, atol=1e-5)
        np.testing.assert_allclose(matrix[:3, 3], turn * np.array(dataset.ImagePositionPatient, float), atol=1e-5)
        assert unit is Unit.MM
        return
    lengths = np.linalg.norm(matrix[:3, :2], axis=0)
    spacing = dataset.get("PixelSpacing") or dataset.get("ImagerPixelSpacing")
    if spacing:
        np.testing.assert_allclose(lengths, [float(spacing[1]), float(spacing[0])], rtol=1e-6)
    else:
        assert unit is Unit.PIXEL
        np.testing.assert_array_equal(lengths, 1)


@pytest.mark.parametrize("twin", TWINS)
def test_every_encoding_of_one_image_gives_the_same_voxels(readings: dict[str, Reading], twin: str) -> None:
    """Against the bytes of the uncompressed file, without a decoder in between."""
    source = dcmread(FILES["MR_small.dcm"])
    rows = np.frombuffer(source.PixelData, "<i2").reshape(source.Rows, source.Columns)
    volume = readings[f"MR_small_{twin}.dcm"].volume
    np.testing.assert_array_equal(volume.voxels[0, :, :, 0], rows.T)


def test_the_folders_of_a_medium() -> None:
    """Eight indexes, CR, CT and MR of three patients; the fifty files without pixels are no images."""
    reading = read_folder(SHIPPED / "test_files" / "dicomdirtests")
    assert len(reading.refusals(Code.DICOMDIR)) == 8
    emptied = [refusal for refusal in reading.discovery.refusals if "SE000000" in refusal.file.relative]
    assert len(emptied) == 50
    assert {refusal.code for refusal in emptied} <= HEADER_ONLY
    shapes = {series.modality: volume.geometry.shape for series, volume in reading.volumes if "CT" in series.modality}
    assert shapes == {"CT": (16, 16, 5)}
    for series, volume in reading.volumes:
        to_index = np.linalg.inv(volume.geometry.matrix)
        slices = [dcmread(file.path) for file in series.files]
        slices.sort(key=lambda one: float((to_index @ first_voxel(one))[2]))
        known = np.concatenate([decoded(one) for one in slices], axis=-1)
        np.testing.assert_allclose(volume.voxels, known, rtol=1e-6)
    gap = {refusal.code for refusal in reading.discovery.refusals if "/CT2/" in refusal.file.relative}
    assert gap <= {Code.GAP, Code.INCOMPLETE}
    scouts = [refusal for refusal in reading.discovery.refusals if "/CT2N/" in refusal.file.relative]
    assert {refusal.code for refusal in scouts} <= SKIPS


def first_voxel(dataset: Dataset) -> NDArray[np.float64]:
    """Homogeneous RAS+ position of the first voxel."""
    x, y, z = (float(value) for value in dataset.get("ImagePositionPatient", (0, 0, 0)))
    return np.array([-x, -y, z, 1.0])
