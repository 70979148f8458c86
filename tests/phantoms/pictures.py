"""PNG files packed by hand from the standard's text: chunks, the five filters, Adam7."""

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, step of rows, step of columns of each pass."""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    samples: np.ndarray,
    colour: int,
    *,
    depth: int | None = None,
    filtering: int = 0,
    interlace: bool = False,
    extra: Sequence[bytes] = (),
) -> bytes:
    """Pack samples (rows, columns, channels), one or two bytes each."""
    bits = depth or 8 * samples.dtype.itemsize
    start = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], bits, colour, 0, 0, int(interlace))
    passes = [samples[r::dr, c::dc] for r, c, dr, dc in ADAM7] if interlace else [samples]
    lines = b"".join(line for part in passes if part.size for line in _lines(part, bits, filtering))
    body = chunk(b"IDAT", zlib.compress(lines))
    return SIGNATURE + chunk(b"IHDR", start) + b"".join(extra) + body + chunk(b"IEND", b"")


def _lines(samples: np.ndarray, bits: int, filtering: int) -> Iterator[bytes]:
    step = max(1, bits * samples.shape[2] // 8)
    above = b""
    for row in samples:
        line = _packed(row, bits)
        above = above or bytes(len(line))
        yield bytes([filtering]) + bytes(
            (value - _predicted(filtering, line, above, at, step)) % 256 for at, value in enumerate(line)
        )
        above = line


def _packed(row: np.ndarray, bits: int) -> bytes:
    if bits >= 8:
        return row.tobytes()
    ones = np.unpackbits(row.reshape(-1, 1), axis=1)[:, 8 - bits :]
    return np.packbits(ones.ravel()).tobytes()


def _predicted(filtering: int, line: bytes, above: bytes, at: int, step: int) -> int:
    left, up = (line[at - step] if at >= step else 0), above[at]
    corner = above[at - step] if at >= step else 0
    if filtering == 4:
        guess = left + up - corner
        return min((left, up, corner), key=lambda value: abs(guess - value))
    return (0, left, up, (left + up) // 2)[filtering]
