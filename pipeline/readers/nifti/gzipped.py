"""Gzip with a bound on what is inflated, read to its end: a wrong checksum or a missing end never passes."""

import zlib

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput

MAGIC = b"\x1f\x8b\x08"
GZIP_WINDOW = 31
"""zlib's window bits for a gzip member; its trailer (CRC-32 and length, RFC 1952) is then verified."""

LARGEST_RATIO = 1032
"""Deflate cannot expand a byte to more than this many (258 bytes a 2 bits)."""


def is_gzip(content: bytes) -> bool:
    """Whether content begins as a gzip file."""
    return content[:3] == MAGIC


def inflate_head(content: bytes, size: int) -> bytes:
    """First `size` inflated bytes, or as many as there are; nothing is verified and damage ends it early."""
    head, rest = b"", content
    while rest and len(head) < size:
        inflater = zlib.decompressobj(GZIP_WINDOW)
        try:
            head += inflater.decompress(rest, size - len(head))
        except zlib.error:
            break
        rest = inflater.unused_data
    return head


def inflate(content: bytes, size: int) -> bytes:
    """Inflate a file of exactly `size` bytes, all members (RFC 1952 2.2), with checksums.

    Never holds more than ``size + 1`` inflated bytes.

    Raises
    ------
    RejectedInput
        TRUNCATED, or CORRUPT: a checksum is wrong, or there is more than `size`.
    """
    parts: list[bytes] = []
    total, rest = 0, content
    while rest:
        inflater = zlib.decompressobj(GZIP_WINDOW)
        try:
            parts.append(inflater.decompress(rest, size + 1 - total))
        except zlib.error as error:
            raise RejectedInput(Code.CORRUPT, "the gzip stream or its checksum is wrong") from error
        total += len(parts[-1])
        if total > size:
            raise RejectedInput(Code.CORRUPT, f"inflates to more than the {size} bytes that its header describes")
        if not inflater.eof:
            raise RejectedInput(Code.TRUNCATED, f"the gzip stream ends early, after {total} of {size} bytes")
        rest = inflater.unused_data.lstrip(b"\0")  # padding to whole blocks, as tapes had
    if total < size:
        raise RejectedInput(Code.TRUNCATED, f"inflates to {total} bytes instead of {size}")
    return parts[0] if len(parts) == 1 else b"".join(parts)
