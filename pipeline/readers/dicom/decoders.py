"""Which decoder takes which transfer syntax (PS3.5 10)."""

from collections.abc import Callable

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from pipeline.readers.dicom.codestream import describe, is_ended

Pixels = NDArray[np.integer]

DCT = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit})
"""Lossy JPEG: its colours are sub-sampled, and Pillow turns them to RGB as every viewer does."""

WITH_END = DCT | {JPEGLSLossless, JPEGLSNearLossless}
"""Whose stream is refused where its last marker is missing: libjpeg fills up with grey, CharLS may take seconds."""


def _lossless_jpeg(stream: bytes) -> Pixels:
    """Decode lossless JPEG (ITU-T T.81 H): grey that is whole by libjpeg-turbo, all else by what is slower.

    libjpeg-turbo fills up a stream that is cut off, which jpegsof3 refuses, and may take RGB for YCbCr.
    """
    if describe(stream).components == 1 and is_ended(stream):
        try:
            return np.asarray(imagecodecs.jpeg8_decode(stream))
        except (RuntimeError, ImportError):  # a build without lossless JPEG, or a stream that is odd
            pass
    return np.asarray(imagecodecs.jpegsof3_decode(stream))


DECODERS: dict[str, Callable[[bytes], Pixels]] = {
    JPEGBaseline8Bit: imagecodecs.jpeg_decode,
    JPEGExtended12Bit: imagecodecs.jpeg_decode,
    JPEGLossless: _lossless_jpeg,
    JPEGLosslessSV1: _lossless_jpeg,
    JPEGLSLossless: imagecodecs.jpegls_decode,
    JPEGLSNearLossless: imagecodecs.jpegls_decode,
    JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    JPEG2000: imagecodecs.jpeg2k_decode,
    HTJ2KLossless: imagecodecs.jpeg2k_decode,
    HTJ2KLosslessRPCL: imagecodecs.jpeg2k_decode,
    HTJ2K: imagecodecs.jpeg2k_decode,
}
"""Transfer syntax (PS3.5 10) to decoder: of those with a permissive licence, the fastest that refuses a stream which is
cut off. OpenJPH, which is faster for HTJ2K, fills up with what was never there."""
