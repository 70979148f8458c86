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

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.codestream import END_OF_IMAGE, describe, is_ended
from pipeline.readers.jpeg_scans import refilled

Pixels = NDArray[np.integer]

DCT = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit})
"""Lossy JPEG: its colours are sub-sampled, and Pillow turns them to RGB as every viewer does."""

WITH_END = DCT | {JPEGLSLossless, JPEGLSNearLossless}
"""Whose stream is refused where its last marker is missing: libjpeg fills up with grey, CharLS may take seconds."""


def _lossless_jpeg(stream: bytes) -> Pixels:
    """Decode lossless JPEG (ITU-T T.81 H) and find what is missing from it by libjpeg-turbo; colour by jpegsof3.

    libjpeg-turbo may take RGB for YCbCr. What it does not take at all is left to jpegsof3, which is slower. Where only
    the last marker is missing nothing is: it is put there, for either fills up or refuses what lacks it.
    """
    ended = stream if is_ended(stream) else stream + END_OF_IMAGE
    try:
        decoded = _whole(imagecodecs.jpeg8_decode, ended)
    except (RuntimeError, ImportError):  # a build without lossless JPEG, or a stream that is odd
        return _whole(imagecodecs.jpegsof3_decode, ended)
    return decoded if describe(stream).components == 1 else np.asarray(imagecodecs.jpegsof3_decode(ended))


def _lossy_jpeg(stream: bytes) -> Pixels:
    """Decode JPEG of 8 or 12 bits and find what is missing from it by libjpeg-turbo."""
    return _whole(imagecodecs.jpeg_decode, stream)


def _whole(decode: Callable[[bytes], Pixels], stream: bytes) -> Pixels:
    """Decode twice, the second time with other bits where data would be missing.

    Data that end early show, in every segment between restarts, and so do most holes within: fewer codes are left. Of a
    lossy stream a short hole may be read over, with pixels that are wrong, as damaged codes are: no decoder can tell.

    Raises
    ------
    RejectedInput
        TRUNCATED.
    """
    decoded = np.asarray(decode(stream))
    if not np.array_equal(decoded, decode(refilled(stream))):
        raise RejectedInput(Code.TRUNCATED, "data are missing from the compressed pixels, where a decoder fills up")
    return decoded


DECODERS: dict[str, Callable[[bytes], Pixels]] = {
    JPEGBaseline8Bit: _lossy_jpeg,
    JPEGExtended12Bit: _lossy_jpeg,
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
cut off, or that can be made to: libjpeg-turbo fills up, so each JPEG is decoded twice. OpenJPH, which is faster for
HTJ2K, fills up with what was never there."""
