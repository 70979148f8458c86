"""Decoders of permissive licences, one 512 x 512 frame each: which one the DICOM reader should use."""

import time
from collections.abc import Callable, Iterator

import imagecodecs
import jpeg_ls
import numpy as np
import openjpeg
import openjpeg.utils
from benchmarks.results import table
from benchmarks.scans import chest
from numpy.typing import NDArray
from phantoms.jpeg_lossless import encode
from pydicom.pixels.decoders.rle import _rle_decode_frame
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import JPEGLosslessSV1

from pipeline.readers.dicom.decoders import DECODERS

PACKAGES = ("pyjpegls", "pylibjpeg-openjpeg")
REPEATS = 9

Decode = Callable[[bytes], object]


def section() -> str:
    """Table of milliseconds a frame: least of several, in processor time."""
    rows = [(form, name, f"{1e3 * seconds:.2f}") for form, name, seconds in measured()]
    text = (
        "One 512 x 512 frame of 16 bits, lossless, decoded by each codec alone; the first of each form is in use. "
        "OpenJPH, liblj92 and libjpeg-turbo decode a stream that is cut off without an error: the first two are not "
        "used, and libjpeg-turbo decodes a stream twice, which tells."
    )
    return f"{text}\n\n{table(('form', 'decoder', 'processor ms a frame'), rows)}"


def measured() -> Iterator[tuple[str, str, float]]:
    """Form, decoder, processor seconds. All decoders of a form give the same."""
    rows = np.ascontiguousarray(chest(1)[:, :, 0].T)
    cells = (rows.astype(np.int32) + 1024).astype(np.uint16)
    for form, (stream, decoders) in _contest(cells).items():
        for name, decode in decoders.items():
            seconds = min(_once(decode, stream) for _ in range(REPEATS))
            assert np.array_equal(np.frombuffer(np.asarray(decode(stream)), np.uint16), cells.reshape(-1)), (form, name)
            yield form, name, seconds


def _contest(cells: NDArray[np.uint16]) -> dict[str, tuple[bytes, dict[str, Decode]]]:
    return {
        "JPEG 2000": (
            bytes(openjpeg.utils.encode_array(cells, bits_stored=16)),
            {"imagecodecs, OpenJPEG": imagecodecs.jpeg2k_decode, "pylibjpeg-openjpeg": openjpeg.decode},
        ),
        "HTJ2K": (
            imagecodecs.htj2k_encode(cells, reversible=True),
            {"imagecodecs, OpenJPEG": imagecodecs.jpeg2k_decode, "imagecodecs, OpenJPH": imagecodecs.htj2k_decode},
        ),
        "JPEG-LS": (
            imagecodecs.jpegls_encode(cells),
            {
                "imagecodecs, CharLS": imagecodecs.jpegls_decode,
                "pyjpegls, CharLS": lambda stream: jpeg_ls.decode(np.frombuffer(stream, np.uint8)),
            },
        ),
        "JPEG lossless": (
            encode(cells, 16),
            {
                "imagecodecs, libjpeg-turbo twice": DECODERS[JPEGLosslessSV1],
                "imagecodecs, libjpeg-turbo": imagecodecs.jpeg8_decode,
                "imagecodecs, jpegsof3": imagecodecs.jpegsof3_decode,
                "imagecodecs, liblj92": imagecodecs.ljpeg_decode,
            },
        ),
        "run lengths": (
            _run_lengths(cells),
            {
                "imagecodecs, run lengths": lambda stream: np.frombuffer(
                    imagecodecs.dicomrle_decode(stream, "<u2"), "<u2"
                ),
                "pydicom": lambda stream: _pydicom(stream, cells.shape),
            },
        ),
    }


def _run_lengths(cells: NDArray[np.uint16]) -> bytes:
    form = {"samples_per_pixel": 1, "photometric_interpretation": "MONOCHROME2", "pixel_representation": 0}
    depth = {"bits_allocated": 16, "bits_stored": 16, "number_of_frames": 1}
    return RLELosslessEncoder.encode(cells, rows=len(cells), columns=len(cells[0]), **form, **depth)


def _pydicom(stream: bytes, shape: tuple[int, ...]) -> NDArray[np.uint16]:
    planes = _rle_decode_frame(stream, *shape, 1, 16, ">")
    return np.frombuffer(bytes(planes), "<u2")


def _once(decode: Decode, stream: bytes) -> float:
    begun = time.process_time()
    decode(stream)
    return time.process_time() - begun
