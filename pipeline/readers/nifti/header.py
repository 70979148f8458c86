"""The header of a NIfTI file, checked against the file before anything is inflated or allocated."""

import math
import struct
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from pipeline.domain.codes import Code
from pipeline.domain.geometry import Geometry
from pipeline.errors import RejectedInput
from pipeline.readers.nifti.affine import geometry_of
from pipeline.readers.nifti.gzipped import LARGEST_RATIO, inflate_head, is_gzip
from pipeline.readers.reader import HeaderCutError

ByteOrder = Literal["<", ">"]
VERSIONS: dict[int, Any] = {348: Nifti1Header, 540: Nifti2Header}
"""sizeof_hdr, which tells the version and the byte order."""

LONGEST_HEADER = 540
MAGIC_AT = {348: 344, 540: 4}
SINGLE_OF = {348: b"n+1\0", 540: b"n+2\0"}
SINGLE = tuple(SINGLE_OF.values())
PAIRS = (b"ni1\0", b"ni2\0")
ANALYZE_REGULAR = (38, b"r")
"""Analyze 7.5, which NIfTI-1 grew from, has this byte and no magic."""

DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
    128: "u1",
    2304: "u1",
}
"""Code of ``datatype`` to a number type without byte order; RGB24 and RGBA32 are bytes, several a voxel."""

COLOUR = {128: 3, 2304: 4}
COMPLEX = (32, 1792, 2048)
OTHERS = {1: "single bits", 1536: "128-bit floats"}
FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """What reading needs.

    Attributes
    ----------
    stored : int
        Components a voxel in the file: 1, 3 (RGB) or 4 (RGBA).
    start, size : int
        First byte of the voxels, and length of the (inflated) file.
    slope, intercept : float
        1 and 0 where the header defines no scaling.
    """

    geometry: Geometry
    dtype: np.dtype[Any]
    stored: int
    start: int
    size: int
    slope: float
    intercept: float
    notes: tuple[str, ...]


def looks_like_nifti(head: bytes) -> bool:
    """Whether a file begins as NIfTI or Analyze, plain or gzipped; a beginning too short to tell counts."""
    head = inflate_head(head, LONGEST_HEADER) if is_gzip(head) else head
    version, _ = _version(head)
    if not version:
        return False
    if len(head) < version:
        return True
    at, letter = ANALYZE_REGULAR
    return _magic(head, version) in SINGLE + PAIRS or head[at : at + 1] == letter


def parse(content: bytes, max_bytes: int, file_size: int | None = None) -> NiftiHeader:
    """Read and check a header.

    Parameters
    ----------
    file_size : int, optional
        Bytes of the file, where `content` is only its beginning.

    Raises
    ------
    RejectedInput
        TRUNCATED, BAD_HEADER, TOO_LARGE, NOT_SUPPORTED, NOT_3D, NOT_REAL, NO_GEOMETRY, BAD_VALUE.
    HeaderCutError
        A beginning does not tell.
    """
    file_size = max(len(content), file_size or 0)
    gzipped = is_gzip(content)
    head = inflate_head(content, LONGEST_HEADER) if gzipped else content[:LONGEST_HEADER]
    version, order = _version(head)
    if len(head) < max(version, 4) and len(content) < file_size:
        raise HeaderCutError
    if len(head) < max(version, 4):
        raise RejectedInput(Code.TRUNCATED, "the file ends within its header")
    if not version:
        raise RejectedInput(Code.BAD_HEADER, "sizeof_hdr is neither 348 nor 540")
    magic = _magic(head, version)
    if magic not in SINGLE:
        kind = "a pair of .hdr and .img" if magic in PAIRS else "Analyze 7.5, which does not say where voxels lie"
        raise RejectedInput(Code.NOT_SUPPORTED, f"it is {kind}; only NIfTI in one file is read")
    if magic != SINGLE_OF[version]:
        raise RejectedInput(Code.BAD_HEADER, f"its header has {version} bytes and the magic of another version")
    header = VERSIONS[version](head[:version], endianness=order, check=False)
    shape = _shape(header)
    code = int(header["datatype"])
    dtype = _dtype(code).newbyteorder(order)
    stored = COLOUR.get(code, 1)
    voxels = math.prod(shape) * stored
    start = _start(header, version)
    size = start + voxels * dtype.itemsize
    _check_size(file_size, gzipped, start, size, voxels, max_bytes)
    geometry, notes = geometry_of(header, shape)
    slope, intercept = (1.0, 0.0) if code in COLOUR else _scaling(header)
    return NiftiHeader(geometry, dtype, stored, start, size, slope, intercept, notes)


def _version(head: bytes) -> tuple[int, ByteOrder]:
    """Size of the header, 0 where it is none, and the byte order."""
    orders: tuple[ByteOrder, ByteOrder] = ("<", ">")
    for order in orders if len(head) >= 4 else ():
        (size,) = struct.unpack_from(f"{order}i", head)
        if size in VERSIONS:
            return size, order
    return 0, "<"


def _magic(head: bytes, version: int) -> bytes:
    return head[MAGIC_AT[version] : MAGIC_AT[version] + 4]


def _shape(header: Any) -> tuple[int, int, int]:
    dims = [int(value) for value in header["dim"]]
    count = dims[0]
    if not 1 <= count <= 7:
        raise RejectedInput(Code.BAD_HEADER, f"dim[0], the number of dimensions, is {count}")
    sizes = dims[1 : count + 1]
    if any(size < 1 for size in sizes):
        raise RejectedInput(Code.BAD_HEADER, f"dim holds a size below 1: {sizes}")
    if count == 1 or any(size > 1 for size in sizes[3:]):
        raise RejectedInput(Code.NOT_3D, f"its shape is {' x '.join(map(str, sizes))}, which is no single volume")
    i, j, k = (*sizes, 1)[:3]
    return i, j, k


def _dtype(code: int) -> np.dtype[Any]:
    if code in COMPLEX:
        raise RejectedInput(Code.NOT_REAL, "its voxels are complex numbers")
    if code in OTHERS:
        raise RejectedInput(Code.NOT_SUPPORTED, f"its voxels are {OTHERS[code]}")
    if code not in DTYPES:
        raise RejectedInput(Code.BAD_HEADER, f"datatype has the unknown code {code}")
    return np.dtype(DTYPES[code])


def _start(header: Any, version: int) -> int:
    """First byte of the voxels: ``vox_offset``, behind the header and its four extension bytes."""
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset != int(offset) or offset < version + 4:
        raise RejectedInput(Code.BAD_HEADER, f"vox_offset is {offset:g}, inside the header")
    return int(offset)


def _check_size(length: int, gzipped: bool, start: int, size: int, voxels: int, max_bytes: int) -> None:
    """Compare what the header claims with what the file can hold, and with the limit."""
    most = length * LARGEST_RATIO if gzipped else length
    claim = f"the header claims {size} bytes"
    too_large = max(size, voxels * FLOAT32_BYTES) > max_bytes
    if start >= most:
        raise RejectedInput(Code.BAD_HEADER, f"vox_offset is {start}, beyond the end of the file")
    if size > most and too_large:
        raise RejectedInput(Code.BAD_HEADER, f"{claim}, which a file of {length} bytes cannot hold")
    if too_large:
        raise RejectedInput(Code.TOO_LARGE, f"{claim}; the limit for a decoded volume is {max_bytes}")
    if size > most:
        raise RejectedInput(Code.TRUNCATED, f"{claim}, the file has {length}")
    if not gzipped and size < length:
        raise RejectedInput(Code.BAD_HEADER, f"{claim}, the file has {length}")


def _scaling(header: Any) -> tuple[float, float]:
    """Slope and intercept; a slope of 0, NaN or infinity means that there is none, as nibabel and nifti1.h have it."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0.0 or not math.isfinite(slope):
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise RejectedInput(Code.BAD_VALUE, f"scl_inter is {intercept}")
    return slope, intercept
