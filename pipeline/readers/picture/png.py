"""PNG: every chunk is checked, and only those that make the picture reach the decoder."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.picture.decoding import Header, decoded, opened, orientation_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
"""The other chunks (text, profiles, gamma) change no sample and may inflate without bound."""

DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
"""Colour type (greyscale, truecolour, indexed, greyscale with alpha, truecolour with alpha) to its bit depths."""

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Colour type to samples a pixel."""

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, step of rows, step of columns of each pass of an interlaced picture."""

GREY, INDEXED = (0, 4), 3


@dataclass(frozen=True, slots=True)
class _Png:
    width: int
    height: int
    depth: int
    colour: int
    interlace: int
    has_alpha: bool
    palette: bytes
    exif: bytes
    content: bytes
    """The file, without the chunks that are not needed."""


def header(content: bytes) -> Header:
    """Size and channels.

    Raises
    ------
    RejectedInput
        TRUNCATED, CORRUPT, BAD_HEADER, NOT_SUPPORTED (animated).
    """
    png = _parse(content)
    return Header(png.width, png.height, 1 if png.colour in GREY else 3, orientation_of(png.exif))


def samples(content: bytes) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """Decode samples, shape (rows, columns, channels), at full depth, with notes for a reviewer."""
    png = _parse(content)
    _check_whole(png)
    notes = ("the alpha channel was dropped",) if png.has_alpha else ()
    if png.depth == 16:
        return _deep(png), notes
    with opened(PngImageFile, png.content) as image:
        if png.colour == INDEXED:
            return _coloured(decoded(image, None), png.palette), notes
        return decoded(image, "L" if png.colour in GREY else "RGB"), notes


def _coloured(indices: NDArray[np.generic], palette: bytes) -> NDArray[np.generic]:
    colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    chosen = indices[..., 0].astype(np.intp)
    if chosen.max() >= len(colours):
        raise RejectedInput(Code.CORRUPT, f"a pixel has colour {chosen.max()} of a palette of {len(colours)}")
    return colours[chosen]


def _deep(png: _Png) -> NDArray[np.generic]:
    """16 bits a sample; Pillow keeps them for greyscale only, and takes one byte of two otherwise."""
    if png.colour == 0:
        with opened(PngImageFile, png.content) as image:
            return decoded(image, None)
    if png.colour == 4:
        # two samples of 16 bits are filtered like four of 8, so the bytes come out as a picture of four channels
        with opened(PngImageFile, _with_format(png, depth=8, colour=6)) as image:
            both = decoded(image, None).astype(np.uint16)
        return both[..., :1] * 256 + both[..., 1:2]
    halves = []
    for byte_order in ("16B", "16L"):  # the high byte of each sample, then the low one
        with opened(PngImageFile, png.content) as image:
            image.tile = [tile._replace(args=str(tile.args).replace("16B", byte_order)) for tile in image.tile]
            halves.append(decoded(image, None)[..., :3].astype(np.uint16))
    return halves[0] * 256 + halves[1]


def _check_whole(png: _Png) -> None:
    """Refuse data that inflate to fewer rows than the header claims: Pillow leaves the others black."""
    data = b"".join(part for kind, part in _chunks(png.content) if kind == b"IDAT")
    bits = SAMPLES[png.colour] * png.depth
    passes = ADAM7 if png.interlace else ((0, 0, 1, 1),)
    needed = 0
    for row, column, down, across in passes:
        rows, columns = -((row - png.height) // down), -((column - png.width) // across)
        needed += max(rows, 0) * (1 + (columns * bits + 7) // 8) if columns > 0 else 0
    try:
        have = len(zlib.decompressobj().decompress(data, needed))
    except zlib.error as error:
        raise RejectedInput(Code.CORRUPT, "the picture is damaged") from error
    if have < needed:
        raise RejectedInput(Code.TRUNCATED, f"the picture holds {have} bytes of the {needed} that its header claims")


def _parse(content: bytes) -> _Png:
    chunks = list(_chunks(content))
    kinds = [kind for kind, _ in chunks]
    if kinds[0] != b"IHDR" or len(chunks[0][1]) != 13 or b"IDAT" not in kinds or kinds.count(b"IHDR") > 1:
        raise RejectedInput(Code.BAD_HEADER, "the chunks of the PNG are not those of a picture")
    if b"acTL" in kinds:
        raise RejectedInput(Code.NOT_SUPPORTED, "it is an animation of several frames")
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", chunks[0][1])
    known = depth in DEPTHS.get(colour, ()) and (compression, filtering) == (0, 0) and interlace in (0, 1)
    if not known or not 0 < width < 2**31 or not 0 < height < 2**31:
        raise RejectedInput(Code.BAD_HEADER, "the IHDR chunk of the PNG holds an impossible value")
    found = dict(chunks)
    palette = found.get(b"PLTE", b"")
    if colour == INDEXED and (not palette or len(palette) % 3):
        raise RejectedInput(Code.BAD_HEADER, "the palette of the PNG is missing or malformed")
    has_alpha = colour in (4, 6) or b"tRNS" in kinds
    return _Png(width, height, depth, colour, interlace, has_alpha, palette, found.get(b"eXIf", b""), _joined(chunks))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and data of each chunk up to IEND, with verified checksum."""
    position = len(SIGNATURE)
    while position + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 8 + length
        if end + 4 > len(content):
            break
        data = content[position + 8 : end]
        if zlib.crc32(content[position + 4 : end]) != struct.unpack_from(">I", content, end)[0]:
            raise RejectedInput(Code.CORRUPT, "the checksum of a PNG chunk is wrong")
        yield kind, data
        if kind == b"IEND":
            return
        position = end + 4
    raise RejectedInput(Code.TRUNCATED, "the PNG ends before its IEND chunk")


def _joined(chunks: list[tuple[bytes, bytes]]) -> bytes:
    kept = (_chunk(kind, data) for kind, data in chunks if kind in NEEDED)
    return SIGNATURE + b"".join(kept)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _with_format(png: _Png, *, depth: int, colour: int) -> bytes:
    """Return the file with another IHDR."""
    values = struct.pack(">IIBBBBB", png.width, png.height, depth, colour, 0, 0, png.interlace)
    return SIGNATURE + _chunk(b"IHDR", values) + png.content[len(SIGNATURE) + 25 :]
