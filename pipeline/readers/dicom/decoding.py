"""Stored pixels of a file, frame by frame: integers as the scanner wrote them, freed of what lies above BitsStored."""

import warnings
from collections.abc import Callable, Iterator, Sequence

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, generate_frames
from pydicom.pixels.processing import convert_color_space
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.codestream import describe
from pipeline.readers.dicom.content import PARSE_ERRORS
from pipeline.readers.dicom.pixel_format import PixelFormat

Pixels = NDArray[np.integer]

STREAM_STARTS = (b"\xff\xd8", b"\xff\x4f")
"""How JPEG and JPEG 2000 streams begin."""

DCT = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit})
"""Lossy JPEG: its colours are sub-sampled, and Pillow turns them to RGB as every viewer does."""

DECODERS: dict[str, Callable[[bytes], Pixels]] = {
    JPEGBaseline8Bit: imagecodecs.jpeg_decode,
    JPEGExtended12Bit: imagecodecs.jpeg_decode,
    JPEGLossless: imagecodecs.jpegsof3_decode,
    JPEGLosslessSV1: imagecodecs.jpegsof3_decode,
    JPEGLSLossless: imagecodecs.jpegls_decode,
    JPEGLSNearLossless: imagecodecs.jpegls_decode,
    JPEG2000Lossless: imagecodecs.jpeg2k_decode,
    JPEG2000: imagecodecs.jpeg2k_decode,
    HTJ2KLossless: imagecodecs.jpeg2k_decode,
    HTJ2KLosslessRPCL: imagecodecs.jpeg2k_decode,
    HTJ2K: imagecodecs.jpeg2k_decode,
}
"""Transfer syntax (PS3.5 10) to decoder."""


def stored_frames(dataset: Dataset, layout: PixelFormat, frames: Sequence[int]) -> Iterator[Pixels]:
    """Decode frames in the order asked for: integers, shape (rows, columns), or (rows, columns, 3) in RGB.

    Raises
    ------
    RejectedInput
        NO_CODEC, CORRUPT, TRUNCATED, or BAD_PIXELS where what is decoded contradicts the header.
    """
    syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
    try:
        _check_length(dataset, layout, syntax)
        if not syntax.is_encapsulated and not layout.is_colour:
            yield from _native(dataset, layout, syntax, frames)
        elif not syntax.is_encapsulated or syntax == RLELossless:
            yield from _by_pydicom(dataset, layout, frames)
        elif syntax in DECODERS:
            yield from _compressed(dataset, layout, syntax, frames)
        else:
            raise RejectedInput(Code.NO_CODEC, f"no decoder is known for {syntax.name}")
    except PARSE_ERRORS as error:
        if isinstance(error, RejectedInput):
            raise
        raise RejectedInput(Code.CORRUPT, f"the pixels cannot be decoded ({type(error).__name__})") from error
    except RuntimeError as error:  # what the decoders raise on damage
        raise RejectedInput(Code.CORRUPT, "the pixels cannot be decoded: the decoder refuses them") from error


def significant(stored: Pixels, layout: PixelFormat) -> Pixels:
    """Keep the bits that hold the value, and extend the sign; overlays and rubbish may lie in the others."""
    shift = layout.high_bit + 1 - layout.bits_stored
    unsigned = stored.view(f"u{stored.dtype.itemsize}")
    return _extended(unsigned >> shift if shift else unsigned, layout.bits_stored, layout.signed)


def _check_length(dataset: Dataset, layout: PixelFormat, syntax: UID) -> None:
    """Refuse more pixels than the header speaks of: another image, or the rest of this one. Zeros may fill up."""
    if not syntax.is_encapsulated:
        if any(memoryview(dataset.PixelData)[layout.native_bytes + layout.native_bytes % 2 :]):
            message = f"the pixel data has {len(dataset.PixelData)} bytes, the header speaks of {layout.native_bytes}"
            raise RejectedInput(Code.BAD_PIXELS, message)
    elif layout.frames == 1:
        starts = [part[:2] in STREAM_STARTS for part in generate_fragments(dataset.PixelData)]
        if sum(starts) > 1:
            raise RejectedInput(Code.BAD_PIXELS, f"the pixel data holds {sum(starts)} images, the header speaks of one")


def _native(dataset: Dataset, layout: PixelFormat, syntax: UID, frames: Sequence[int]) -> Iterator[Pixels]:
    """Uncompressed grey pixels (PS3.5 8.1.1)."""
    size = layout.bits_allocated // 8
    swapped = not syntax.is_little_endian
    data = np.frombuffer(dataset.PixelData, dtype=f"{'>' if swapped else '<'}u{size}")
    if swapped and size == 1 and dataset["PixelData"].VR == "OW":
        data = data.view(np.uint16).byteswap().view(np.uint8)
    count = layout.rows * layout.columns
    for frame in frames:
        part = data[frame * count : (frame + 1) * count]
        if part.size < count:
            raise RejectedInput(Code.TRUNCATED, "the pixel data ends early")
        yield significant(part.astype(f"u{size}").reshape(layout.rows, layout.columns), layout)


def _by_pydicom(dataset: Dataset, layout: PixelFormat, frames: Sequence[int]) -> Iterator[Pixels]:
    """Run lengths, and uncompressed colour in all its orders; colour comes as RGB."""
    if not layout.is_colour and layout.high_bit != layout.bits_stored - 1:
        raise RejectedInput(Code.NOT_SUPPORTED, f"HighBit {layout.high_bit} in run-length encoded pixels")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # excess padding and the like; what matters is checked here
        for frame in iter_pixels(dataset, indices=list(frames), raw=not layout.is_colour):
            native = frame.astype(frame.dtype.newbyteorder("="))
            _check_shape(native, layout)
            yield native if layout.is_colour else significant(native, layout)


def _compressed(dataset: Dataset, layout: PixelFormat, syntax: UID, frames: Sequence[int]) -> Iterator[Pixels]:
    streams = list(generate_frames(dataset.PixelData, number_of_frames=layout.frames))
    for frame in frames:
        if len(streams) != layout.frames:
            code = Code.TRUNCATED if len(streams) < layout.frames else Code.BAD_PIXELS
            raise RejectedInput(code, f"the pixel data holds {len(streams)} frames, the header says {layout.frames}")
        stream = describe(streams[frame])
        claimed = (layout.columns, layout.rows, layout.samples)
        if (stream.columns, stream.rows, stream.components) != claimed:
            found = f"{stream.columns} x {stream.rows} with {stream.components} samples"
            message = (
                f"the compressed pixels are {found}, the header says {claimed[0]} x {claimed[1]} with {claimed[2]}"
            )
            raise RejectedInput(Code.BAD_PIXELS, message)
        if layout.is_colour and syntax in DCT:
            yield from _by_pydicom(dataset, layout, [frame])
            continue
        decoded = np.asarray(DECODERS[syntax](streams[frame]))
        _check_shape(decoded, layout)
        if layout.is_colour:
            yield _rgb(decoded, layout)
        else:
            yield _agreeing(decoded, layout, stream.precision, stream.signed)


def _check_shape(decoded: Pixels, layout: PixelFormat) -> None:
    wanted = (layout.rows, layout.columns, 3) if layout.is_colour else (layout.rows, layout.columns)
    if decoded.shape != wanted or decoded.dtype.kind not in "iu":
        message = f"decoded to {decoded.shape} of {decoded.dtype} instead of {wanted}"
        raise RejectedInput(Code.BAD_PIXELS, message)


def _rgb(decoded: Pixels, layout: PixelFormat) -> Pixels:
    """Undo what the stream itself does not: JPEG 2000 carries the transform of YBR_ICT and YBR_RCT, not of YBR_FULL."""
    if layout.photometric == "YBR_FULL":
        return np.asarray(convert_color_space(decoded, "YBR_FULL", "RGB"))
    return decoded


def _agreeing(decoded: Pixels, layout: PixelFormat, precision: int, signed: bool) -> Pixels:
    """Values as the header means them, refused where the stream cannot have meant them so.

    A stream without sign under a header with one holds two's complement. Bits above BitsStored must repeat the value:
    zeros, or its sign.
    """
    if signed and not layout.signed and decoded.min() < 0:
        raise RejectedInput(Code.BAD_PIXELS, "the compressed pixels hold negative values, the header says unsigned")
    if signed:
        values = decoded
    else:
        unsigned = decoded.view(f"u{decoded.dtype.itemsize}")
        values = _extended(unsigned, precision, layout.signed)
    low = -(1 << (layout.bits_stored - 1)) if layout.signed else 0
    high = (1 << (layout.bits_stored - layout.signed)) - 1
    if precision > layout.bits_stored and (values.min() < low or values.max() > high):
        message = f"the compressed pixels use {precision} bits, the header says {layout.bits_stored}"
        raise RejectedInput(Code.BAD_PIXELS, message)
    return values


def _extended(unsigned: Pixels, bits: int, signed: bool) -> Pixels:
    """Interpret the lowest bits of unsigned numbers, as two's complement where signed."""
    size = unsigned.dtype.itemsize
    kind = f"{'i' if signed else 'u'}{size}"
    spare = 8 * size - bits
    if spare <= 0:
        return unsigned.view(kind)
    return np.asarray(np.right_shift(np.left_shift(unsigned, spare).view(kind), spare))
