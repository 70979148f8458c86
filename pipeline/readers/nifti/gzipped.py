"""Gzip with a bound on what is inflated, read to its end: a wrong checksum or a missing end never passes."""

import re
import zlib
from collections.abc import Iterator
from itertools import islice

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput

MAGIC = b"\x1f\x8b\x08"
GZIP_WINDOW = 31
"""zlib's window bits for a gzip member; its trailer (CRC-32 and length, RFC 1952) is then verified."""

LARGEST_RATIO = 1032
"""Deflate cannot expand a byte to more than this many (258 bytes a 2 bits)."""

FIRST_STEP, LARGEST_STEP = 512, 1024**2
"""Bytes of a member that are fed at once: zlib copies what lies behind a member's end, so that the steps grow with the
member and the copies stay within its length, however many members there are."""

PIECE_BYTES = 1024**2
"""Inflated bytes that are taken at once."""

HEAD_PIECES = 64
"""Pieces, of one or many members, in which a header must come."""

MOST_EMPTY = 1000
"""Members without content that a file may have; bgzip ends each of its files, also joined ones, with one."""

PADDING = re.compile(rb"\0*")
"""Zeros behind a member, to whole blocks, as tapes had."""


def is_gzip(content: bytes) -> bool:
    """Whether content begins as a gzip file."""
    return content[:3] == MAGIC


def inflate_head(content: bytes, size: int) -> bytes:
    """First `size` inflated bytes, or as many as there are; nothing is verified and damage ends it early."""
    head = b""
    try:
        for piece in islice(_pieces(content, size), HEAD_PIECES):
            head += piece
            if len(head) >= size:
                break
    except (zlib.error, RejectedInput):
        pass
    return head[:size]


def inflate(content: bytes, size: int) -> bytearray:
    """Inflate a file of exactly `size` bytes, all members (RFC 1952 2.2), with checksums.

    Never holds more than ``size + PIECE_BYTES`` inflated bytes.

    Raises
    ------
    RejectedInput
        TRUNCATED, or CORRUPT: a checksum is wrong, or there is more than `size`.
    """
    data, total = bytearray(size), 0
    try:
        for piece in _pieces(content, PIECE_BYTES):
            if total + len(piece) > size:
                message = f"inflates to more than the {size} bytes that its header describes"
                raise RejectedInput(Code.CORRUPT, message)
            data[total : total + len(piece)] = piece
            total += len(piece)
    except zlib.error as error:
        raise RejectedInput(Code.CORRUPT, "the gzip stream or its checksum is wrong") from error
    if total < size:
        raise RejectedInput(Code.TRUNCATED, f"inflates to {total} bytes instead of {size}")
    return data


def _pieces(content: bytes, most: int) -> Iterator[bytes]:
    """Inflate all members in turn, no more than `most` bytes at once, in time that is linear in the file.

    Raises
    ------
    zlib.error
        The stream or a checksum is wrong.
    RejectedInput
        TRUNCATED, within a member; CORRUPT, of nothing but empty members.
    """
    view, at, total, empty = memoryview(content), 0, 0, 0
    while at < len(view):
        inflater, step, before = zlib.decompressobj(GZIP_WINDOW), FIRST_STEP, total
        while not inflater.eof:
            fed = view[at : at + step]
            piece = inflater.decompress(fed, most)
            if not fed and not piece:
                raise RejectedInput(Code.TRUNCATED, f"the gzip stream ends early, after {total} bytes")
            at += len(fed) - len(inflater.unused_data if inflater.eof else inflater.unconsumed_tail)
            total += len(piece)
            step = min(2 * step, LARGEST_STEP)
            yield piece
        at = _behind_padding(content, at)
        empty += total == before
        if empty > MOST_EMPTY:
            raise RejectedInput(Code.CORRUPT, f"more than {MOST_EMPTY} gzip members are empty")


def _behind_padding(content: bytes, at: int) -> int:
    match = PADDING.match(content, at)
    return match.end() if match else at
