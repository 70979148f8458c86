"""Damage that knows NIfTI and PNG: fields of a header, and what lies behind a checksum."""

import gzip
import struct
import zlib
from collections.abc import Callable
from random import Random

from fuzzing.any_bytes import flip_bits

FIELDS_1 = {"dim": (40, "h", 8), "datatype": (70, "h", 2), "pixdim": (76, "f", 8), "vox_offset": (108, "f", 1)} | {
    "scl": (112, "f", 2),
    "units": (123, "B", 1),
    "codes": (252, "h", 2),
    "quatern": (256, "f", 6),
    "srow": (280, "f", 12),
    "magic": (344, "B", 4),
    "size": (0, "i", 1),
}
"""Fields of NIfTI-1 (nifti1.h): offset, number type, count."""

FIELDS_2 = {"datatype": (12, "h", 2), "dim": (16, "q", 8), "pixdim": (104, "d", 8), "vox_offset": (168, "q", 1)} | {
    "scl": (176, "d", 2),
    "codes": (344, "i", 2),
    "quatern": (352, "d", 6),
    "srow": (400, "d", 12),
    "units": (500, "i", 1),
    "magic": (4, "B", 4),
    "size": (0, "i", 1),
}
"""Fields of NIfTI-2 (nifti2.h)."""

WHOLE = (0, 1, 2, 3, 4, 5, 8, 16, 64, 128, 255, 512, -1, 2**15 - 1, 2**31 - 1)
REAL = (0.0, 1.0, -1.0, 0.5, 352.0, 544.0, 353.0, 1e-20, 1e30, float("nan"), float("inf"), float("-inf"))
LIMITS = {"h": (-(2**15), 2**15 - 1), "i": (-(2**31), 2**31 - 1), "q": (-(2**63), 2**63 - 1), "B": (0, 255)}

Mutation = Callable[[bytes, Random], bytes]


def nifti_field(content: bytes, random: Random) -> bytes:
    """Edit one number of the header, in the file's own byte order; of a gzipped file, packed again."""
    if content[:2] == b"\x1f\x8b":
        return gzip.compress(nifti_field(gzip.decompress(content), random), mtime=0)
    order = "<" if content[0] in (0x5C, 0x1C) else ">"
    fields = FIELDS_2 if struct.unpack_from(f"{order}i", content)[0] == 540 else FIELDS_1
    offset, kind, count = fields[random.choice(list(fields))]
    at = offset + random.randrange(count) * struct.calcsize(kind)
    (old,) = struct.unpack_from(f"{order}{kind}", content, at)
    if kind in "fd":
        value = random.choice((*REAL, old * 1.25, old + 0.125, -old))
        value = value if abs(value) < 3e38 or value in (float("inf"), float("-inf")) else float("nan")
    else:
        low, high = LIMITS[kind]
        value = min(max(random.choice((*WHOLE, old + 1, old - 1)), low), high)
    return content[:at] + struct.pack(f"{order}{kind}", value) + content[at + struct.calcsize(kind) :]


def nifti_voxels(content: bytes, random: Random) -> bytes:
    """Flip a bit of the voxels; of a gzipped file, packed again, so that its checksum is right."""
    if content[:2] == b"\x1f\x8b":
        return gzip.compress(nifti_voxels(gzip.decompress(content), random), mtime=0)
    return content[:352] + flip_bits(content[352:], random)


def gzip_members(content: bytes, random: Random) -> bytes:
    """Pack anew: in two members, with rubbish or zeros behind, twice, or under a wrong checksum."""
    if content[:2] != b"\x1f\x8b":
        return gzip.compress(content, mtime=0)
    whole = gzip.decompress(content)
    cut = random.randrange(len(whole))
    parted = gzip.compress(whole[:cut], mtime=0) + gzip.compress(whole[cut:], mtime=0)
    wrong = content[:-8] + random.randbytes(4) + content[-4:]
    return random.choice((parted, content + b"\0" * 512, content + b"rubbish", gzip.compress(content), wrong, whole))


def png_chunk(content: bytes, random: Random) -> bytes:
    """Edit, drop, repeat or reorder a chunk, with the right checksum; JPEG: damage a marker segment."""
    if content[:4] != b"\x89PNG":
        at = random.randrange(2, min(len(content), 200))
        return content[:at] + bytes([random.choice((0, 1, 8, 0xC2, 0xD9, 255))]) + content[at + 1 :]
    chunks = _chunks(content)
    at = random.randrange(len(chunks))
    kind = random.randrange(5)
    if kind == 0:
        del chunks[at]
    elif kind == 1:
        chunks.insert(at, chunks[at])
    elif kind == 2:
        random.shuffle(chunks)
    else:
        name, data = chunks[at]
        if data:
            chunks[at] = name, flip_bits(data, random)
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return content[:8] + b"".join(packed)


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    found, position = [], 8
    while position + 12 <= len(content):
        length, name = struct.unpack_from(">I4s", content, position)
        found.append((name, content[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


NIFTI: tuple[Mutation, ...] = (nifti_field, nifti_field, nifti_voxels, gzip_members)
PICTURE: tuple[Mutation, ...] = (png_chunk, flip_bits)
