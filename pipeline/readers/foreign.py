"""Images of formats that no reader reads: they are rejected, not passed over as if they were none."""

import re
import zlib

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput

MAGIC = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "BigTIFF",
    b"GIF8": "GIF",
    b"NRRD": "NRRD",
    b"ObjectType = Image": "MetaImage",
    b"\x89HDF\r\n\x1a\n": "HDF5 (MINC 2)",
    b"CDF\x01": "NetCDF (MINC 1)",
    b"# === DATA DESCRIPTION FILE": "Philips PAR/REC",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL",
}
"""How they begin."""

BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"avif": "AVIF"}
"""Of an ISO base media file (ISO/IEC 14496-12 4.3), at byte 8 behind ``ftyp``."""

NAMES = {
    r"\.(dcm|dicom|ima)\.(gz|bz2|xz|zst)": "a packed DICOM file: unpack it",
    r"\.nii\.(bz2|xz|zst|lzma)": "a NIfTI file packed otherwise than by gzip: unpack it",
    r"\.(mgh|mgz|mgh\.gz)": "a FreeSurfer image, a format that is not read: convert it to NIfTI",
    r"\.(mha|mhd)": "a MetaImage, a format that is not read: convert it to NIfTI",
    r"\.(nrrd|nhdr)": "an NRRD image, a format that is not read: convert it to NIfTI",
    r"\.mnc(\.gz)?": "a MINC image, a format that is not read: convert it to NIfTI",
    r"\.(bmp|webp|jp2|j2k|jpx|jxl|heic|heif|avif|tiff?|gif)": "by its name an image of a format that is not read",
}
"""What the end of a name says, where the content does not."""

GZIP = b"\x1f\x8b"
PREAMBLE = 128
"""Bytes before the magic of a DICOM file (PS3.10 7.1)."""

ANALYZE_SIZE = 348
"""First number of an Analyze 7.5 header, in either byte order."""


def foreign_fault(name: str, content: bytes, size: int) -> RejectedInput | None:
    """Tell which format a file is of that no reader claims; None: of none that is known.

    Parameters
    ----------
    name : str
        Of the file.
    content : bytes
        Its beginning.
    size : int
        Bytes of the whole file.
    """
    if form := _by_content(name, content, size):
        return RejectedInput(Code.NOT_SUPPORTED, f"a {form} image, a format that is not read")
    if inflated(content, PREAMBLE + 4)[PREAMBLE:] == b"DICM":
        return RejectedInput(Code.NOT_SUPPORTED, "a gzipped DICOM file: unpack it")
    told = next((what for end, what in NAMES.items() if re.search(f"{end}$", name, re.IGNORECASE)), "")
    if told and not content:
        return RejectedInput(Code.TRUNCATED, "the file is empty")
    return RejectedInput(Code.NOT_SUPPORTED, told) if told else None


def _by_content(name: str, content: bytes, size: int) -> str:
    if form := next((form for magic, form in MAGIC.items() if content.startswith(magic)), ""):
        return form
    if content[4:8] == b"ftyp" and content[8:12] in BRANDS:
        return BRANDS[content[8:12]]
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "WebP"
    if content.startswith(b"BM") and int.from_bytes(content[2:6], "little") == size:
        return "BMP"
    starts = {ANALYZE_SIZE.to_bytes(4, "little"), ANALYZE_SIZE.to_bytes(4, "big")}
    return "Analyze 7.5" if name.lower().endswith(".hdr") and content[:4] in starts else ""


def inflated(content: bytes, most: int) -> bytes:
    """First bytes of a gzipped file; empty where it is none, or damaged."""
    if not content.startswith(GZIP):
        return b""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(content, most)
    except zlib.error:
        return b""
