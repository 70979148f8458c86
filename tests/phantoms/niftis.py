"""NIfTI files packed byte by byte from the standard's header layout, with what one field or another is to be."""

import gzip
import struct
from collections.abc import Sequence

import numpy as np

CODES = {
    "u1": 2,
    "i2": 4,
    "i4": 8,
    "c8": 32,
    "f4": 16,
    "f8": 64,
    "i1": 256,
    "u2": 512,
    "u4": 768,
    "i8": 1024,
    "u8": 1280,
}
SFORM = ((-2.0, 0.0, 0.0, 30.0), (0.0, -1.5, 0.0, 20.0), (0.0, 0.0, 3.0, -10.0))


def header1(
    dim: Sequence[int],
    datatype: int,
    *,
    order: str = "<",
    bitpix: int = 16,
    pixdim: Sequence[float] = (1.0, 2.0, 1.5, 3.0, 1.0, 1.0, 1.0, 1.0),
    vox_offset: float = 352.0,
    slope: float = 1.0,
    intercept: float = 0.0,
    units: int = 2,
    qform_code: int = 0,
    sform_code: int = 1,
    quatern: Sequence[float] = (0.0, 0.0, 0.0),
    qoffset: Sequence[float] = (0.0, 0.0, 0.0),
    sform: Sequence[Sequence[float]] = SFORM,
    magic: bytes = b"n+1\0",
) -> bytes:
    """348 bytes of nifti1.h."""
    dims = [*dim, *[1] * (8 - len(dim))]
    return b"".join(
        [
            struct.pack(f"{order}i10s18sihcB", 348, b"", b"", 0, 0, b"r", 0),
            struct.pack(f"{order}8h3f4h", *dims, 0, 0, 0, 0, datatype, bitpix, 0),
            struct.pack(f"{order}8f3fhBB", *pixdim, vox_offset, slope, intercept, 0, 0, units),
            struct.pack(f"{order}4f2i80s24s", 0, 0, 0, 0, 0, 0, b"", b""),
            struct.pack(f"{order}2h6f", qform_code, sform_code, *quatern, *qoffset),
            struct.pack(f"{order}12f", *(value for row in sform for value in row)),
            struct.pack("16s4s", b"", magic),
        ]
    )


def header2(dim: Sequence[int], datatype: int, *, order: str = "<", sform: Sequence[Sequence[float]] = SFORM) -> bytes:
    """540 bytes of nifti2.h."""
    dims = [*dim, *[1] * (8 - len(dim))]
    return b"".join(
        [
            struct.pack(f"{order}i8s2h8q", 540, b"n+2\0\r\n\032\n", datatype, 16, *dims),
            struct.pack(f"{order}3d8d", 0, 0, 0, 1, 2, 1.5, 3, 1, 1, 1, 1),
            struct.pack(f"{order}q2d2d2d2q", 544, 1, 0, 0, 0, 0, 0, 0, 0),
            struct.pack("80s24s", b"", b""),
            struct.pack(f"{order}2i6d", 0, 1, 0, 0, 0, 0, 0, 0),
            struct.pack(f"{order}12d", *(value for row in sform for value in row)),
            struct.pack(f"{order}3i16sB15s", 0, 2, 0, b"", 0, b""),
        ]
    )


def voxels(shape: Sequence[int], dtype: str = "i2") -> np.ndarray:
    """Voxel (i, j, k) holds i + 10 j + 100 k: a wrong axis or order shows."""
    i, j, k = np.indices((*shape, 1)[:3])
    return (i + 10 * j + 100 * k).reshape(shape).astype(dtype)


def nifti(array: np.ndarray | None = None, *, order: str = "<", version: int = 1, **fields: object) -> bytes:
    """A whole file; `fields` go to the header."""
    array = voxels((4, 3, 2)) if array is None else array
    stored = array.astype(array.dtype.newbyteorder(order))
    given = {"dim": (array.ndim, *array.shape), "datatype": CODES[array.dtype.str[1:]]} | fields
    make = header1 if version == 1 else header2
    return make(order=order, **given) + b"\0" * 4 + stored.tobytes(order="F")


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
