"""A lossless JPEG encoder (ITU-T T.81 process 14, predictor 1): what most archives hold and pydicom cannot write."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODE_BITS = 5
"""Every difference category has a code of this length: poor compression, valid Huffman table."""

CATEGORIES = 17


def encode(rows: NDArray[Any], bits: int, restart: int = 0) -> bytes:
    """One grey frame (rows, columns) of unsigned samples, `bits` deep, as a JPEG stream.

    After every `restart` rows the encoder starts anew (ITU-T T.81 H.1.2.3), so that what follows does without the rest.
    """
    height, width = rows.shape
    frame = struct.pack(">HHBHHBBBB", 0xFFC3, 11, bits, height, width, 1, 1, 0x11, 0)
    counts = bytes(CATEGORIES if length == CODE_BITS else 0 for length in range(1, 17))
    table = struct.pack(">HHB", 0xFFC4, 3 + 16 + CATEGORIES, 0) + counts + bytes(range(CATEGORIES))
    interval = struct.pack(">HHH", 0xFFDD, 4, restart * width) if restart else b""
    scan = struct.pack(">HHBBBBBB", 0xFFDA, 8, 1, 1, 0, 1, 0, 0)
    parts = [rows[start : start + (restart or height)] for start in range(0, height, restart or height)]
    data = b"".join(
        (bytes([0xFF, 0xD0 + (number - 1) % 8]) if number else b"") + _packed(_differences(part, bits))
        for number, part in enumerate(parts)
    )
    return b"\xff\xd8" + frame + table + interval + scan + data + b"\xff\xd9"


def _differences(rows: NDArray[Any], bits: int) -> list[int]:
    """From the left neighbour, from above in the first column, from the middle of the range at the start."""
    samples = rows.astype(np.int64)
    predicted = np.empty_like(samples)
    predicted[:, 1:] = samples[:, :-1]
    predicted[1:, 0] = samples[:-1, 0]
    predicted[0, 0] = 2 ** (bits - 1)
    modulo = (samples - predicted) % 65536
    return [int(value) for value in np.where(modulo > 32768, modulo - 65536, modulo).reshape(-1)]


def _packed(differences: list[int]) -> bytes:
    text = []
    for difference in differences:
        category = abs(difference).bit_length()
        text.append(f"{category:0{CODE_BITS}b}")
        if 0 < category < CATEGORIES - 1:
            value = difference if difference > 0 else difference + 2**category - 1
            text.append(f"{value:0{category}b}")
    bits = "".join(text)
    bits += "1" * (-len(bits) % 8)
    content = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return content.replace(b"\xff", b"\xff\x00")
