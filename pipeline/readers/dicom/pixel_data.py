"""The value of Pixel Data where it lies in a file, so that a plain file is read without parsing its pixels."""

from dataclasses import dataclass
from struct import error as StructError

from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.content import HEADER_BYTES, PARSE_ERRORS, read_header, read_whole
from pipeline.readers.dicom.deflate import deflated_start
from pipeline.readers.dicom.layout import IMPLICIT, ITEM, LENGTH, SEQUENCE_END, UNDEFINED
from pipeline.readers.dicom.values import integer, syntax_of

PIXEL_DATA = b"\xe0\x7f\x10\x00"
"""Tag of Pixel Data, little endian."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image file.

    Attributes
    ----------
    dataset : Dataset
        Its header; of a file that is not plain, with its pixels.
    pixels : memoryview
        Value of Pixel Data: native pixels, or the items of compressed ones, without their delimiter.
    syntax : UID
        How `pixels` are encoded.
    is_words : bool
        Whether Pixel Data has the value representation OW.
    """

    dataset: Dataset
    pixels: memoryview
    syntax: UID
    is_words: bool


def open_image(content: bytes, max_bytes: int) -> ImageFile:
    """Find the pixels of a file. Its pixel data may inflate to at most `max_bytes`.

    Plain is a grey image, little endian, that ends with its pixel data. pydicom parses whatever is anything else.

    Raises
    ------
    RejectedInput
        See :func:`pipeline.readers.dicom.content.read_whole`.
    """
    return _plain(content) or _parsed(content, max_bytes)


def _plain(content: bytes) -> ImageFile | None:
    if deflated_start(content) is not None:
        return None
    try:
        dataset, offset = read_header(content)
        syntax = syntax_of(dataset)
        is_little = syntax.is_transfer_syntax and syntax.is_little_endian
        if not is_little or integer(dataset, "SamplesPerPixel") != 1:
            return None
        start, length, vr = _element(content, offset, implicit=syntax == ImplicitVRLittleEndian)
        end = _end_of_items(content, start) if length == UNDEFINED else start + length
    except (RejectedInput, StructError):
        return None
    if content[offset : offset + 4] != PIXEL_DATA or vr not in (b"OB", b"OW"):
        return None
    is_whole = end + (8 if length == UNDEFINED else 0) == len(content)
    if not is_whole or syntax.is_encapsulated != (length == UNDEFINED):
        return None
    return ImageFile(dataset, memoryview(content)[start:end], syntax, is_words=vr == b"OW")


def _parsed(content: bytes, max_bytes: int) -> ImageFile:
    dataset = read_whole(content, max_bytes + HEADER_BYTES)
    try:
        value = dataset.get("PixelData")
        is_words = "PixelData" in dataset and dataset["PixelData"].VR == "OW"
    except PARSE_ERRORS as error:
        message = "the pixel data has a value representation that cannot hold it"
        raise RejectedInput(Code.BAD_HEADER, message) from error
    pixels = memoryview(value if isinstance(value, bytes) else b"")
    return ImageFile(dataset, pixels, syntax_of(dataset), is_words)


def _element(content: bytes, offset: int, *, implicit: bool) -> tuple[int, int, bytes]:
    """Where the value of an element begins, its length, and its value representation (PS3.5 7.1)."""
    if implicit:
        return offset + 8, *LENGTH(content, offset + 4), b"OW"
    return offset + 12, *LENGTH(content, offset + 8), content[offset + 4 : offset + 6]


def _end_of_items(content: bytes, position: int) -> int:
    """Walk the items of encapsulated pixel data (PS3.5 A.4); return where they end."""
    while True:
        upper, lower, length = IMPLICIT(content, position)
        if upper << 16 | lower != ITEM:
            return position if upper << 16 | lower == SEQUENCE_END else len(content)
        position += 8 + length
