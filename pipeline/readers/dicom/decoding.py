"""Stored pixels of a file, frame by frame: integers as the scanner wrote them, freed of what lies above BitsStored."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.pixels.processing import convert_color_space
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000TransferSyntaxes, RLELossless

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.codestream import J2K_START, JPEG_START, Codestream, describe, is_ended
from pipeline.readers.dicom.content import PARSE_ERRORS
from pipeline.readers.dicom.decoders import DCT, DECODERS, WITH_END, Pixels
from pipeline.readers.dicom.fragments import streams_of
from pipeline.readers.dicom.pixel_data import ImageFile
from pipeline.readers.dicom.pixel_format import PixelFormat
from pipeline.readers.dicom.pixels import padding_beyond_bits
from pipeline.readers.dicom.run_lengths import cells_of

STREAM_STARTS = (b"\xff\xd8", b"\xff\x4f")
"""How JPEG and JPEG 2000 streams begin."""

IN_ITEMS = UID("1.2.840.10008.1.2.1.98")
"""Encapsulated Uncompressed Explicit VR Little Endian (PS3.5 A.4)."""

LABELS_WITH_TRANSFORM, LABELS_WITHOUT = frozenset({"RGB", "YBR_RCT", "YBR_ICT"}), frozenset({"RGB", "YBR_FULL"})
"""PhotometricInterpretation over JPEG 2000 with a transform of colours, and over any other stream but lossy JPEG."""


def stored_frames(image: ImageFile, layout: PixelFormat, frames: Sequence[int]) -> Iterator[Pixels]:
    """Decode frames in the order asked for: integers, shape (rows, columns), or (rows, columns, 3) in RGB.

    Raises
    ------
    RejectedInput
        NO_CODEC, NOT_SUPPORTED, CORRUPT, TRUNCATED, BAD_HEADER, or BAD_PIXELS where what is decoded contradicts the
        header.
    """
    try:
        _check_length(image, layout)
        if not image.syntax.is_encapsulated and not layout.is_colour:
            yield from _native(image, layout, frames)
        elif not image.syntax.is_encapsulated or (image.syntax == RLELossless and layout.is_colour):
            yield from _colour(image.dataset, layout, frames)
        elif image.syntax == RLELossless:
            yield from _run_lengths(image, layout, frames)
        elif image.syntax == IN_ITEMS and not layout.is_colour:
            yield from _native(_out_of_items(image, layout), layout, frames)
        elif image.syntax in DECODERS:
            yield from _compressed(image, layout, frames)
        else:
            message = f"{image.syntax.name}{' in colour' * (image.syntax == IN_ITEMS)} is not read yet"
            raise RejectedInput(Code.NOT_SUPPORTED, f"{message}: have the images exported uncompressed")
    except ImportError as error:  # how imagecodecs says that it was built without a decoder
        message = f"the installed imagecodecs has no decoder for {image.syntax.name}: reinstall it from PyPI"
        raise RejectedInput(Code.NO_CODEC, message) from error
    except PARSE_ERRORS as error:
        if isinstance(error, RejectedInput):
            raise
        raise RejectedInput(Code.CORRUPT, f"the pixels cannot be decoded ({type(error).__name__})") from error
    except RuntimeError as error:  # what the decoders raise on damage
        raise RejectedInput(Code.CORRUPT, "the pixels cannot be decoded: the decoder refuses them") from error


def significant(stored: Pixels, layout: PixelFormat, padding: tuple[int, int] | None = None) -> Pixels:
    """Keep the bits that hold the value, and extend the sign; overlays and rubbish may lie in the others.

    Cells from the first to the second of `padding`, values that the bits cannot hold, are kept whole: cut off, they
    would be values of the patient.
    """
    shift = layout.high_bit + 1 - layout.bits_stored
    unsigned = stored.view(f"u{stored.dtype.itemsize}")
    values = _extended(unsigned >> shift if shift else unsigned, layout.bits_stored, layout.signed)
    if padding is None:
        return values
    cells = stored.view(values.dtype)
    return np.where((cells >= padding[0]) & (cells <= padding[1]), cells, values)


def _check_length(image: ImageFile, layout: PixelFormat) -> None:
    """Refuse more pixels than the header speaks of: another image, or the rest of this one. Zeros may fill up."""
    if not image.syntax.is_encapsulated:
        if any(image.pixels[layout.native_bytes + layout.native_bytes % 2 :]):
            message = f"the pixel data has {len(image.pixels)} bytes, the header speaks of {layout.native_bytes}"
            raise RejectedInput(Code.BAD_PIXELS, message)
    elif layout.frames == 1:
        starts = [part[:2] in STREAM_STARTS for part in generate_fragments(image.pixels.tobytes())]
        if sum(starts) > 1:
            raise RejectedInput(Code.BAD_PIXELS, f"the pixel data holds {sum(starts)} images, the header speaks of one")


def _native(image: ImageFile, layout: PixelFormat, frames: Sequence[int]) -> Iterator[Pixels]:
    """Uncompressed grey pixels (PS3.5 8.1.1)."""
    size = layout.bits_allocated // 8
    swapped = not image.syntax.is_little_endian
    data = np.frombuffer(image.pixels, dtype=f"{'>' if swapped else '<'}u{size}")
    if swapped and size == 1 and image.is_words:
        data = data.view(np.uint16).byteswap().view(np.uint8)
    count = layout.rows * layout.columns
    padding = padding_beyond_bits(image.dataset, layout)
    for frame in frames:
        part = data[frame * count : (frame + 1) * count]
        if part.size < count:
            raise RejectedInput(Code.TRUNCATED, "the pixel data ends early")
        native = part.astype(f"u{size}", copy=False).reshape(layout.rows, layout.columns)
        yield significant(native, layout, padding)


def _out_of_items(image: ImageFile, layout: PixelFormat) -> ImageFile:
    """Take frames that lie uncompressed in items out of these, each without what makes its length even."""
    size = layout.native_bytes // layout.frames
    streams = _streams(image, layout)
    for stream in streams:
        if len(stream) != size + size % 2:
            code = Code.TRUNCATED if len(stream) < size else Code.BAD_PIXELS
            raise RejectedInput(code, f"a frame has {len(stream)} bytes, the header speaks of {size}")
    pixels = memoryview(b"".join(stream[:size] for stream in streams))
    return replace(image, pixels=pixels, syntax=ExplicitVRLittleEndian)


def _colour(dataset: Dataset, layout: PixelFormat, frames: Sequence[int]) -> Iterator[Pixels]:
    """Colour that is uncompressed, in all its orders, in runs of bytes or in lossy JPEG, as RGB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # excess padding and the like; what matters is checked here
        for frame in iter_pixels(dataset, indices=list(frames)):
            native = frame.astype(frame.dtype.newbyteorder("="))
            _check_shape(native, layout)
            yield native


def _run_lengths(image: ImageFile, layout: PixelFormat, frames: Sequence[int]) -> Iterator[Pixels]:
    """Grey pixels in runs of bytes (PS3.5 G)."""
    streams = _streams(image, layout)
    padding = padding_beyond_bits(image.dataset, layout)
    for frame in frames:
        cells = cells_of(streams[frame], layout.rows * layout.columns, layout.bits_allocated // 8)
        yield significant(cells.reshape(layout.rows, layout.columns), layout, padding)


def _streams(image: ImageFile, layout: PixelFormat) -> list[bytes]:
    return streams_of(image.pixels.tobytes(), layout.frames)


def _compressed(image: ImageFile, layout: PixelFormat, frames: Sequence[int]) -> Iterator[Pixels]:
    streams = _streams(image, layout)
    for frame in frames:
        stream = _described(streams[frame], image.syntax, layout)
        decoded = np.asarray(DECODERS[image.syntax](streams[frame]))
        if layout.is_colour and image.syntax in DCT:  # decoded above to see whether it is whole
            yield from _colour(image.dataset, layout, [frame])
            continue
        _check_shape(decoded, layout)
        if layout.is_colour:
            yield _rgb(decoded, layout, transformed=stream.transformed)
        else:
            yield _agreeing(decoded, layout, stream.precision, stream.signed)


def _described(stream: bytes, syntax: UID, layout: PixelFormat) -> Codestream:
    """Read what a stream says of itself, and refuse it where the file says otherwise."""
    if syntax in WITH_END and not is_ended(stream):
        raise RejectedInput(Code.TRUNCATED, "the compressed pixels end early")
    other, name = (JPEG_START, "JPEG") if syntax in JPEG2000TransferSyntaxes else (J2K_START, "JPEG 2000")
    if stream.startswith(other):
        raise RejectedInput(Code.BAD_HEADER, f"the pixels are {name}, TransferSyntaxUID says {syntax.name}")
    found = describe(stream)
    claimed = (layout.columns, layout.rows, layout.samples)
    if (found.columns, found.rows, found.components) != claimed:
        told = f"{found.columns} x {found.rows} with {found.components} samples"
        message = f"the compressed pixels are {told}, the header says {claimed[0]} x {claimed[1]} with {claimed[2]}"
        raise RejectedInput(Code.BAD_PIXELS, message)
    return found


def _check_shape(decoded: Pixels, layout: PixelFormat) -> None:
    wanted = (layout.rows, layout.columns, 3) if layout.is_colour else (layout.rows, layout.columns)
    if decoded.shape != wanted or decoded.dtype.kind not in "iu":
        message = f"decoded to {decoded.shape} of {decoded.dtype} instead of {wanted}"
        raise RejectedInput(Code.BAD_PIXELS, message)


def _rgb(decoded: Pixels, layout: PixelFormat, *, transformed: bool) -> Pixels:
    """Undo what the stream itself does not: JPEG 2000 carries the transform of YBR_ICT and YBR_RCT, not of YBR_FULL.

    A stream with a transform under a label that excludes it (PS3.5 8.2.4), or without one under a label that asks for
    it, was labelled before or after its colours were turned: which of the two it does not tell. Labels of sub-sampled
    colour exclude every stream that comes here. RGB over a transform is what many writers leave, and means one thing.
    """
    if layout.photometric not in (LABELS_WITH_TRANSFORM if transformed else LABELS_WITHOUT):
        carries = "carry a transform of colours" if transformed else "carry no transform of colours, and all samples"
        message = f"the compressed pixels {carries}; PhotometricInterpretation is {layout.photometric}"
        raise RejectedInput(Code.BAD_PIXELS, f"{message}: their colours may be either of two")
    if layout.photometric == "YBR_FULL":
        return np.asarray(convert_color_space(decoded, "YBR_FULL", "RGB"))
    return decoded


def _agreeing(decoded: Pixels, layout: PixelFormat, precision: int, signed: bool) -> Pixels:
    """Values as the header means them, refused where the stream cannot have meant them so.

    A stream without sign under a header with one holds two's complement, of which a stream of fewer bits than
    BitsStored does not tell the sign. Bits above BitsStored must repeat the value: zeros, or its sign.
    """
    if layout.high_bit != layout.bits_stored - 1:
        raise RejectedInput(Code.NOT_SUPPORTED, f"HighBit {layout.high_bit} over compressed pixels")
    if signed and not layout.signed and decoded.min() < 0:
        raise RejectedInput(Code.BAD_PIXELS, "the compressed pixels hold negative values, the header says unsigned")
    if signed:
        values = decoded
    else:
        unsigned = decoded.view(f"u{decoded.dtype.itemsize}")
        if int(unsigned.max()) >> precision:  # lossless JPEG adds up differences: damage drifts out of the range
            raise RejectedInput(Code.CORRUPT, f"the compressed pixels leave the range of their {precision} bits")
        if layout.signed and precision < layout.bits_stored and int(unsigned.max()) >> (precision - 1):
            message = f"the compressed pixels have {precision} bits, the header says {layout.bits_stored} with a sign"
            raise RejectedInput(Code.BAD_PIXELS, f"{message}: they may be negative or large")
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
