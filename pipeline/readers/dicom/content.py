"""From the bytes of a file to a data set, with limits: nothing is inflated, nested or allocated without bound."""

import logging
import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO

from pydicom.config import IGNORE, settings
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import dcmread, read_dataset, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.deflate import check_inflated_size, deflated_start, inflate
from pipeline.readers.dicom.elements import plain_header
from pipeline.readers.dicom.layout import EXPLICIT_VRS, ITEM_BYTES, MAGIC_OFFSET, PIXEL_GROUP, PIXEL_TAGS, known_vr
from pipeline.readers.reader import HeaderCutError

# What a diagnosis rests on is judged in values.py. pydicom's warnings quote header values, which may name the patient.
settings.reading_validation_mode = IGNORE
warnings.filterwarnings("ignore", module="pydicom")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

HEADER_BYTES = 64 * 1024**2
"""What a deflated header may inflate to, beside its pixels."""

PIXEL_VRS = frozenset({b"OB", b"OW", b"UN"})
"""Value representations that pixel data has (PS3.5 8.2), or was left with."""

UNDEFINED_LENGTH = b"\xff\xff\xff\xff"
"""Length of pixel data that stands in fragments (PS3.5 A.4)."""

NOT_AS_SAID = "{}, TransferSyntaxUID says that it is {}: whoever converted one of the two forgot the other"

FILLING_TAGS = frozenset({0x00000000, 0xFFFCFFFC})
"""What may fill up a file behind its pixel data: zeros, and Data Set Trailing Padding (PS3.10 7.2)."""

PARSE_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    struct.error,
    zlib.error,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    EOFError,
    OSError,
)
"""What pydicom raises on damaged bytes."""


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file begins as DICOM: the magic of PS3.10 7.1, or a bare data set that starts in group 2 or 8."""
    if head[MAGIC_OFFSET : MAGIC_OFFSET + 4] == b"DICM":
        return True
    if len(head) < 16 or head[:2] not in (b"\x08\x00", b"\x02\x00") or head[2] > 0x20 or head[3] != 0:
        return False
    if head[4:6] in EXPLICIT_VRS:
        return True
    length = struct.unpack("<L", head[4:8])[0]
    return bool(length <= 64 and head[8 : 8 + length].isascii())


def read_header(content: bytes, size: int | None = None) -> tuple[Dataset, int]:
    """Parse up to the pixel data; return the data set and the offset of the pixel data element.

    Parameters
    ----------
    size : int, optional
        Bytes of the file, where `content` is only its beginning.

    Raises
    ------
    RejectedInput
        TRUNCATED, TOO_LARGE (deflated), TOO_DEEP, BAD_HEADER.
    HeaderCutError
        `content` is a beginning that tells too little.
    """
    size = len(content) if size is None else size
    if (plain := plain_header(content, size)) is not None:
        return plain
    if len(content) < size:
        raise HeaderCutError
    start = deflated_start(content)
    if start is None:
        return _guarded(lambda: _parse_plain(content, pixels=False))
    prefix = inflate(content, start, HEADER_BYTES)
    dataset, offset = _guarded(lambda: _parse_deflated(content[:start], prefix.body, pixels=False))
    if prefix.at_limit and offset >= len(prefix.body):
        raise RejectedInput(Code.TOO_LARGE, f"the header inflates to more than {HEADER_BYTES} bytes")
    return dataset, offset


def read_whole(content: bytes, max_bytes: int) -> Dataset:
    """Parse a file with its pixel data, inflating at most `max_bytes`; see :func:`read_header`.

    The header is what stands before the pixel data, here as there: what belongs to it and stands behind is refused.
    """
    start = deflated_start(content)
    if start is None:
        return _guarded(lambda: _parse_plain(content, pixels=True))[0]
    inflated = inflate(content, start, max_bytes)
    if not inflated.is_whole:
        code = Code.TOO_LARGE if inflated.at_limit else Code.TRUNCATED
        raise RejectedInput(code, f"the data set ends or is left after {len(inflated.body)} inflated bytes")
    return _guarded(lambda: _parse_deflated(content[:start], inflated.body, pixels=True))[0]


def check_pixel_bytes(content: bytes, size: int, offset: int, syntax: UID, expected: int) -> None:
    """Refuse a file whose pixel data is absent or ends before it should, or is not encoded as the file says.

    Parameters
    ----------
    content : bytes
        The file, or its beginning, of `size` bytes.
    expected : int
        Bytes that native pixel data must have.

    Raises
    ------
    RejectedInput
        TRUNCATED, CORRUPT, BAD_HEADER, or TOO_LARGE where it inflates to more than it says.
    HeaderCutError
        A beginning does not tell.
    """
    deflated = deflated_start(content)
    start = offset + (12 if deflated is not None or _is_explicit(content, offset, syntax) else 8)
    if deflated is not None:
        check_inflated_size(content, deflated, start + expected, HEADER_BYTES)
        return
    if offset + 4 > size:
        raise RejectedInput(Code.TRUNCATED, "the file ends before its pixel data")
    if len(content) < min(start + 4, size):
        raise HeaderCutError
    length, first = content[start - 4 : start], content[start : start + 4]
    if syntax.is_encapsulated and length != UNDEFINED_LENGTH and len(first) == len(ITEM_BYTES) and first != ITEM_BYTES:
        raise RejectedInput(Code.BAD_HEADER, f"the pixel data is {NOT_AS_SAID.format('uncompressed', 'compressed')}")
    if not syntax.is_encapsulated and length == UNDEFINED_LENGTH:
        raise RejectedInput(Code.BAD_HEADER, f"the pixel data is {NOT_AS_SAID.format('compressed', 'uncompressed')}")
    if syntax.is_encapsulated:
        if len(content) < size:
            raise HeaderCutError
        _check_fragments(content, start)
    elif size - start < expected:
        have = max(0, size - start)
        raise RejectedInput(Code.TRUNCATED, f"the pixel data has {have} bytes instead of {expected}")


def _is_explicit(content: bytes, offset: int, syntax: UID) -> bool:
    """Whether the element at `offset` has a value representation, whatever the file says of its transfer syntax.

    Those of pixel data begin with an odd byte, a length that stands in their place with an even one.
    """
    code = content[offset + 4 : offset + 6]
    return code in PIXEL_VRS or (code in EXPLICIT_VRS and syntax != ImplicitVRLittleEndian)


def _check_fragments(body: bytes, position: int) -> None:
    """Walk the items of encapsulated pixel data (PS3.5 A.4) to the sequence delimiter."""
    while position + 8 <= len(body):
        group, element, length = struct.unpack_from("<HHL", body, position)
        position += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            return
        if (group, element) != (0xFFFE, 0xE000):
            raise RejectedInput(Code.CORRUPT, "the fragments of the pixel data are damaged")
        position += length
    raise RejectedInput(Code.TRUNCATED, "the file ends within its pixel data")


def _guarded(parse: Callable[[], tuple[Dataset, int]]) -> tuple[Dataset, int]:
    """Turn what pydicom raises on damaged bytes into a refusal."""
    try:
        dataset, offset = parse()
        _touch_sequences(dataset)
    except RecursionError as error:
        raise RejectedInput(Code.TOO_DEEP, "sequences are nested deeper than in any real file") from error
    except PARSE_ERRORS as error:
        if isinstance(error, RejectedInput):
            raise
        code = Code.TRUNCATED if isinstance(error, EOFError) else Code.BAD_HEADER
        raise RejectedInput(code, f"the header cannot be parsed ({type(error).__name__})") from error
    syntax = getattr(dataset.file_meta, "TransferSyntaxUID", None)
    if not syntax or not isinstance(syntax, str):
        raise RejectedInput(Code.BAD_HEADER, "TransferSyntaxUID is missing or no single UID")
    return dataset, offset


def _parse_plain(content: bytes, pixels: bool) -> tuple[Dataset, int]:
    stream = BytesIO(content)
    dataset = read_partial(stream, stop_when=_each_once(pixels=pixels), force=True)
    return _with_syntax(dataset), stream.tell()


def _parse_deflated(head: bytes, body: bytes, pixels: bool) -> tuple[Dataset, int]:
    stream = BytesIO(body)
    stop = _each_once(pixels=pixels)
    dataset = read_dataset(stream, is_implicit_VR=False, is_little_endian=True, stop_when=stop)
    whole = Dataset(dataset)
    whole.set_original_encoding(False, True, dataset._character_set)
    whole.file_meta = dcmread(BytesIO(head), force=True).file_meta
    if pixels:
        whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return whole, stream.tell()


def _with_syntax(dataset: Dataset) -> Dataset:
    """Give a bare data set (no file meta information) the transfer syntax that its bytes show."""
    if not hasattr(dataset, "file_meta") or dataset.file_meta is None:
        dataset.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _each_once(*, pixels: bool) -> Callable[[BaseTag, str | None, int], bool]:
    """Make what stops pydicom at the pixel data, and at an element of the standard that stands a second time.

    PS3.5 7.1 has each element once, in ascending order. Of two, one reader takes the first and another the last; an
    element of the header that stands behind the pixels (where `pixels` are read too) is seen by some readers alone.
    """
    seen: set[int] = set()
    is_behind = False

    def stop(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        nonlocal is_behind
        number = int(tag)
        is_peeked = seen == {number}  # pydicom looks at the first element twice
        is_filling = is_behind and number in FILLING_TAGS
        if number in seen and not is_peeked and not is_filling and (is_behind or not tag.is_private):
            raise RejectedInput(Code.BAD_HEADER, f"{keyword_for_tag(tag) or tag} stands twice in the header")
        if is_behind and not is_filling and tag.group < PIXEL_GROUP:
            raise RejectedInput(Code.BAD_HEADER, f"{keyword_for_tag(tag) or tag} stands behind the pixel data")
        seen.add(number)
        is_behind = is_behind or number in PIXEL_TAGS
        return is_behind and not pixels

    return stop


def _touch_sequences(dataset: Dataset) -> None:
    """Parse the sequences that pydicom has left for later, so that damage and depth show here."""
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        if raw is not None and (raw.VR or known_vr(tag)) == "SQ":
            for nested in dataset[tag].value:
                _touch_sequences(nested)
