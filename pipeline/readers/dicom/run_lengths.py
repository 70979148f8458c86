"""Grey pixels in runs of bytes (PS3.5 G): each byte of a cell is a segment of its own, the most significant first."""

import struct
from itertools import pairwise

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput

HEADER = struct.Struct("<16L")
"""Number of segments, and where each of them begins (PS3.5 G.5)."""


def cells_of(stream: bytes, count: int, size: int) -> NDArray[np.unsignedinteger]:
    """Decode a frame to `count` unsigned integers of `size` bytes.

    The header is checked here: the decoder for whole frames (``dicomrle_decode``) crashes on a wrong one, and cannot
    tell a segment that is short from its neighbour that is long.

    Raises
    ------
    RejectedInput
        CORRUPT, TRUNCATED, or BAD_PIXELS for more pixels than the header of the file speaks of.
    """
    if len(stream) < HEADER.size:
        raise RejectedInput(Code.TRUNCATED, "the runs of bytes end within their header")
    segments, *starts = HEADER.unpack_from(stream)
    bounds = [*starts[: min(segments, len(starts))], len(stream)]
    if segments != size or bounds[0] < HEADER.size:
        raise RejectedInput(Code.CORRUPT, f"the header of the runs of bytes is no sound one of {size} segments")
    cells = np.empty((count, size), dtype=np.uint8)
    for number, (start, end) in enumerate(pairwise(bounds)):
        cells[:, size - 1 - number] = _segment(stream[start:end], count)
    return cells.view(f"<u{size}")[:, 0].astype(f"u{size}", copy=False)


def _segment(runs: bytes, count: int) -> NDArray[np.uint8]:
    found = np.frombuffer(imagecodecs.packbits_decode(runs), dtype=np.uint8)
    if found.size < count:
        raise RejectedInput(Code.TRUNCATED, f"the runs of bytes hold {found.size} pixels instead of {count}")
    if found[count:].any():  # zeros may fill up
        raise RejectedInput(Code.BAD_PIXELS, f"the runs of bytes hold {found.size} pixels, the header says {count}")
    return found[:count]
