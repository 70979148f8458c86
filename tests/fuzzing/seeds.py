"""Sound scans of every kind that is read, a few voxels large: what the mutants are made of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_objects import write_encapsulated, write_radiograph
from phantoms.dicom_series import Identity, make_items, make_voxels, write_series
from phantoms.jpeg_lossless import encode as encode_lossless
from phantoms.niftis import nifti, voxels, zipped
from phantoms.pictures import png
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
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

Rows = NDArray[Any]
SHAPE = (12, 10, 3)
SPACING = (0.75, 0.5, 2.5)
POSITION = (-40.0, 12.5, 100.0)


@dataclass(frozen=True, slots=True)
class Seed:
    """One scan: the content of its files, by name."""

    name: str
    files: Mapping[str, bytes]

    @property
    def kind(self) -> str:
        """``dicom``, ``nifti`` or ``picture``."""
        return self.name.split("/")[0]


NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)

CODECS: dict[UID, tuple[Callable[[Rows], bytes], Any]] = {
    JPEGBaseline8Bit: (lambda rows: bytes(imagecodecs.jpeg8_encode(rows, level=95)), np.uint8),
    JPEGExtended12Bit: (lambda rows: bytes(imagecodecs.jpeg8_encode(rows, level=95, bitspersample=12)), np.uint16),
    JPEGLossless: (lambda rows: encode_lossless(rows, 12), np.uint16),
    JPEGLosslessSV1: (lambda rows: encode_lossless(rows, 12), np.uint16),
    JPEGLSLossless: (lambda rows: bytes(imagecodecs.jpegls_encode(rows)), np.uint16),
    JPEGLSNearLossless: (lambda rows: bytes(imagecodecs.jpegls_encode(rows, level=2)), np.uint16),
    JPEG2000Lossless: (lambda rows: _jpeg2000(rows, reversible=True), np.uint16),
    JPEG2000: (lambda rows: _jpeg2000(rows, reversible=False, level=50), np.uint16),
    HTJ2KLossless: (lambda rows: bytes(imagecodecs.htj2k_encode(rows, reversible=True)), np.uint16),
    HTJ2KLosslessRPCL: (lambda rows: bytes(imagecodecs.htj2k_encode(rows, reversible=True)), np.uint16),
    HTJ2K: (lambda rows: bytes(imagecodecs.htj2k_encode(rows, reversible=True)), np.uint16),
}
"""Encoder of one frame (rows, columns), and its number type."""


def make_seeds() -> tuple[Seed, ...]:
    """Every seed, the same on every call."""
    return (*_dicom_seeds(), *_nifti_seeds(), *_picture_seeds())


def _dicom_seeds() -> Iterator[Seed]:
    for syntax in (*NATIVE, RLELossless):
        yield _written(f"dicom/{syntax.keyword}", lambda folder, syntax=syntax: _series(folder, syntax))
    for syntax in CODECS:
        yield _written(f"dicom/{syntax.keyword}", lambda folder, syntax=syntax: _encoded(folder, syntax))
    yield _written("dicom/signed MR", _signed)
    yield _written("dicom/PET with a slope a slice", _pet)
    yield _written("dicom/enhanced", _enhanced)
    yield _written("dicom/enhanced RLE", lambda folder: _enhanced(folder, RLELossless))
    yield _written("dicom/radiograph", _radiograph)
    yield _written("dicom/RGB", _colour)
    yield _written("dicom/palette", _palette)
    yield _written("dicom/Modality LUT", _lookup)
    yield _written("dicom/YBR JPEG", _colour_jpeg)


def _nifti_seeds() -> Iterator[Seed]:
    short = voxels((5, 4, 3))
    yield Seed("nifti/plain", {"a.nii": nifti(short)})
    yield Seed("nifti/scaled floats", {"a.nii": nifti(short.astype("f4"), slope=0.5, intercept=-7.0, bitpix=32)})
    yield Seed("nifti/big endian", {"a.nii": nifti(short, order=">")})
    yield Seed("nifti/qform", {"a.nii": nifti(short, qform_code=1, sform_code=0, quatern=(0.0, 0.6, 0.0))})
    yield Seed("nifti/version 2", {"a.nii": nifti(short, version=2)})
    yield Seed("nifti/gzipped", {"a.nii.gz": zipped(nifti(short))})
    yield Seed("nifti/gzipped version 2", {"a.nii.gz": zipped(nifti(short.astype("u1"), version=2))})


def _picture_seeds() -> Iterator[Seed]:
    random = np.random.default_rng(5)
    grey, deep = random.integers(0, 256, (9, 11, 1), np.uint8), random.integers(0, 65536, (9, 11, 1), np.uint16)
    yield Seed("picture/PNG", {"a.png": png(grey, 0)})
    yield Seed("picture/PNG of 16 bits", {"a.png": png(deep.astype(">u2"), 0)})
    yield Seed("picture/PNG in RGB", {"a.png": png(random.integers(0, 256, (9, 11, 3), np.uint8), 2, filtering=4)})
    for mode in ("L", "RGB"):
        stream = BytesIO()
        Image.fromarray(random.integers(0, 256, (24, 32, 3), np.uint8)).convert(mode).save(stream, "JPEG")
        yield Seed(f"picture/JPEG {mode}", {"a.jpg": stream.getvalue()})


def _written(name: str, write: Callable[[Path], object]) -> Seed:
    with TemporaryDirectory() as folder:
        write(Path(folder))
        return Seed(name, {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())})


def _series(folder: Path, syntax: UID) -> None:
    write_series(
        folder, make_voxels(SHAPE), spacing=SPACING, position=POSITION, intercept=-1024, transfer_syntax=syntax
    )


def _encoded(folder: Path, syntax: UID) -> None:
    encode, dtype = CODECS[syntax]
    deep = np.dtype(dtype).itemsize > 1
    stored = make_voxels((34, 32, 3), high=4000 if deep else 256, dtype=dtype)
    paths = write_series(
        folder, stored, spacing=SPACING, position=POSITION, intercept=-1024, bits_stored=12 if deep else 8
    )
    for k, path in enumerate(paths):
        dataset = dcmread(path)
        dataset.PixelData = encapsulate([encode(np.ascontiguousarray(stored[:, :, k].T))])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path, enforce_file_format=True)


def _signed(folder: Path) -> None:
    stored = make_voxels(SHAPE, low=-2048, high=2048, dtype=np.int16)
    oblique = ((0.8, 0.6, 0.0), (0.0, 0.0, -1.0))
    write_series(folder, stored, modality="MR", orientation=oblique, spacing=SPACING, bits_stored=12)


def _pet(folder: Path) -> None:
    write_series(folder, make_voxels(SHAPE), modality="PT", slope=[0.25, 1.5, 3.75], intercept=[0, 0, 0])


def _enhanced(folder: Path, syntax: UID = ExplicitVRLittleEndian) -> None:
    frames = make_frames(make_voxels(SHAPE), spacing=SPACING, position=POSITION)
    write_enhanced(folder / "a.dcm", frames[::-1], spacing=SPACING, transfer_syntax=syntax)


def _radiograph(folder: Path) -> None:
    write_radiograph(folder / "a.dcm", make_voxels((12, 10, 1))[:, :, 0], photometric="MONOCHROME1", bits_stored=12)


def _colour(folder: Path) -> None:
    stored = make_voxels((12, 10, 3), high=256, dtype=np.uint8)
    write_radiograph(folder / "a.dcm", stored, modality="US", spacing=None, photometric="RGB", identity=Identity())


def _palette(folder: Path) -> None:
    entries = np.random.default_rng(3).integers(0, 65536, (3, 200)).astype("<u2")

    def tables(dataset: Dataset) -> None:
        for channel, colour in enumerate(("Red", "Green", "Blue")):
            setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [200, 10, 16])
            setattr(dataset, f"{colour}PaletteColorLookupTableData", entries[channel].tobytes())

    stored = make_voxels((12, 10, 1), high=256, dtype=np.uint8)[:, :, 0]
    write_radiograph(folder / "a.dcm", stored, modality="US", spacing=None, photometric="PALETTE COLOR", edit=tables)


def _lookup(folder: Path) -> None:
    def table(dataset: Dataset) -> None:
        entries = np.random.default_rng(4).permutation(4096).astype("<u2")
        dataset.ModalityLUTSequence = make_items(LUTDescriptor=[4096, 0, 16], ModalityLUTType="US")
        dataset.ModalityLUTSequence[0].add_new("LUTData", "OW", entries.tobytes())

    stored = make_voxels((12, 10, 1))[:, :, 0]
    write_radiograph(folder / "a.dcm", stored, modality="CR", spacing_tag="PixelSpacing", edit=table)


def _colour_jpeg(folder: Path) -> None:
    stream = BytesIO()
    stored = make_voxels((32, 24, 3), high=256, dtype=np.uint8)
    Image.fromarray(stored.transpose(1, 0, 2)).save(stream, "JPEG", quality=95)
    write_encapsulated(folder / "a.dcm", stored, stream.getvalue(), JPEGBaseline8Bit, "YBR_FULL_422")


def _jpeg2000(rows: Rows, **settings: Any) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(rows, codecformat="j2k", bitspersample=12, **settings))
