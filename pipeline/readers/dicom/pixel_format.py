"""How the pixels of an image are stored (PS3.3 C.7.6.3), checked before any of them is read."""

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.content import check_pixel_bytes
from pipeline.readers.dicom.elements import is_present
from pipeline.readers.dicom.kinds import frame_count
from pipeline.readers.dicom.values import integer, shown, syntax_of, text

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
COLOUR = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
PALETTE = frozenset({"PALETTE COLOR"})
"""One sample a pixel: its place in a table of colours (PS3.3 C.7.6.3.1.2)."""

PRESENTED_IN_COLOUR = frozenset({"COLOR", "MIXED", "TRUE_COLOR"})
"""PixelPresentation (PS3.3 C.8.16.2.1.1.1) of grey images in which some values stand for colours."""

LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
"""Transfer syntaxes that change values a little, which is another colour of a palette."""

UNREAD = frozenset({"ARGB", "CMYK", "HSV", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB"})
"""Other terms that PS3.3 C.7.6.3.1.2 defines, or did."""

FLOAT_BYTES = 4
"""A decoded voxel is float32."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """Layout of the stored pixels of one file."""

    frames: int
    rows: int
    columns: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    little: bool = True

    @property
    def is_colour(self) -> bool:
        """Whether a pixel has three samples."""
        return self.samples == 3

    @property
    def is_palette(self) -> bool:
        """Whether a pixel is a place in a table of colours."""
        return self.photometric in PALETTE

    @property
    def channels(self) -> int:
        """Channels of the Volume."""
        return 3 if self.is_palette else self.samples

    @property
    def native_bytes(self) -> int:
        """Bytes that uncompressed pixel data has (PS3.5 8.1; sub-sampled colour shares its chroma)."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return self.frames * self.rows * self.columns * samples * self.bits_allocated // 8

    @property
    def decoded_bytes(self) -> int:
        """Bytes of the Volume."""
        return self.frames * self.rows * self.columns * self.channels * FLOAT_BYTES


def pixel_format(dataset: Dataset, max_bytes: int) -> PixelFormat:
    """Read the layout.

    Raises
    ------
    RejectedInput
        BAD_HEADER, BAD_VALUE, TOO_LARGE, or NOT_SUPPORTED.
    """
    photometric = text(dataset, "PhotometricInterpretation")
    stored = _required(dataset, "BitsStored")
    high_bit = integer(dataset, "HighBit")
    syntax = syntax_of(dataset)
    found = PixelFormat(
        frames=frame_count(dataset),
        rows=_required(dataset, "Rows"),
        columns=_required(dataset, "Columns"),
        samples=_required(dataset, "SamplesPerPixel"),
        photometric=photometric,
        bits_allocated=_required(dataset, "BitsAllocated"),
        bits_stored=stored,
        high_bit=stored - 1 if high_bit is None else high_bit,
        signed=_is_signed(dataset),
        little=syntax.is_little_endian if syntax.is_transfer_syntax else True,
    )
    if found.decoded_bytes > max_bytes:
        raise RejectedInput(
            Code.TOO_LARGE,
            f"the header claims {found.columns} x {found.rows} x {found.frames} pixels, "
            f"{found.decoded_bytes} bytes; the limit is {max_bytes}",
        )
    _check(dataset, found)
    return found


def check_pixels_present(content: bytes, size: int, offset: int, dataset: Dataset, layout: PixelFormat) -> None:
    """Refuse pixel data that is absent, cut off, or of a kind that is not read.

    `content` is the file, or its beginning, of `size` bytes.

    Raises
    ------
    RejectedInput
        TRUNCATED, CORRUPT, TOO_LARGE, or NOT_SUPPORTED for pixels that are stored as floating point numbers.
    """
    tag = content[offset : offset + 4]
    if tag in (b"\xe0\x7f\x08\x00", b"\xe0\x7f\x09\x00"):
        raise RejectedInput(Code.NOT_SUPPORTED, "pixels stored as floating point numbers are not read yet")
    check_pixel_bytes(content, size, offset, syntax_of(dataset), layout.native_bytes)


def _check(dataset: Dataset, found: PixelFormat) -> None:
    if found.photometric not in GREY | COLOUR | PALETTE:
        told = shown(found.photometric, UNREAD)
        raise RejectedInput(Code.NOT_SUPPORTED, f"PhotometricInterpretation is {told}, which is not read yet")
    if found.samples != (3 if found.photometric in COLOUR else 1):
        message = f"SamplesPerPixel is {found.samples}, PhotometricInterpretation {found.photometric}"
        raise RejectedInput(Code.BAD_HEADER, message)
    if found.bits_allocated not in (8, 16, 32):
        raise RejectedInput(Code.NOT_SUPPORTED, f"{found.bits_allocated} bits a pixel are not read yet")
    if not found.bits_stored - 1 <= found.high_bit < found.bits_allocated:
        message = f"BitsStored {found.bits_stored}, HighBit {found.high_bit}, BitsAllocated {found.bits_allocated}"
        raise RejectedInput(Code.BAD_HEADER, f"{message} contradict each other")
    if found.is_colour and (found.bits_stored, found.signed) != (8, False):
        raise RejectedInput(Code.NOT_SUPPORTED, "colour of other than 8 unsigned bits is not read yet")
    syntax = syntax_of(dataset)
    if not syntax.is_transfer_syntax:
        raise RejectedInput(Code.BAD_HEADER, "TransferSyntaxUID names no transfer syntax")
    if found.is_palette and syntax in LOSSY:
        raise RejectedInput(Code.NOT_SUPPORTED, "a palette of which the pixels were compressed with loss")
    if found.photometric in GREY and _has_colours(dataset):
        raise RejectedInput(Code.NOT_SUPPORTED, "grey pixels of which some stand for colours (supplemental palette)")


def _has_colours(dataset: Dataset) -> bool:
    """Whether values of a grey image stand for colours; a palette that nothing speaks of leaves it open."""
    presentation = text(dataset, "PixelPresentation")
    return presentation in PRESENTED_IN_COLOUR or (
        not presentation and is_present(dataset, "RedPaletteColorLookupTableDescriptor")
    )


def _is_signed(dataset: Dataset) -> bool:
    value = _required(dataset, "PixelRepresentation", least=0)
    if value > 1:
        raise RejectedInput(Code.BAD_VALUE, f"PixelRepresentation is {value} instead of 0 or 1")
    return value == 1


def _required(dataset: Dataset, keyword: str, least: int = 1) -> int:
    value = integer(dataset, keyword)
    if value is None:
        raise RejectedInput(Code.BAD_HEADER, f"{keyword} is missing")
    if value < least:
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} is {value}")
    return value
