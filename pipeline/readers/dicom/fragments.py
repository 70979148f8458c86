"""How the fragments of compressed pixels become frames (PS3.5 A.4)."""

from io import BytesIO

from pydicom.encaps import generate_frames, parse_basic_offsets, parse_fragments

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput


def streams_of(items: bytes, frames: int) -> list[bytes]:
    """Join fragments to one stream a frame.

    With a fragment for each frame nothing can be mistaken; else the offset table says where each frame begins.

    Parameters
    ----------
    items : bytes
        Basic Offset Table and fragments, without the delimiter.

    Raises
    ------
    RejectedInput
        CORRUPT where the table points into a fragment; TRUNCATED or BAD_PIXELS where there are fewer or more frames
        than `frames`.
    """
    if frames > 1:
        _check_offsets(items, frames)
    streams = list(generate_frames(items, number_of_frames=frames))
    if len(streams) != frames:
        code = Code.TRUNCATED if len(streams) < frames else Code.BAD_PIXELS
        raise RejectedInput(code, f"the pixel data holds {len(streams)} frames, the header says {frames}")
    return streams


def _check_offsets(items: bytes, frames: int) -> None:
    buffer = BytesIO(items)
    offsets = parse_basic_offsets(buffer)
    count, starts = parse_fragments(buffer)
    if count != frames and not set(offsets) <= {start - starts[0] for start in starts}:
        raise RejectedInput(Code.CORRUPT, "the offset table of the pixel data points into the middle of a fragment")
