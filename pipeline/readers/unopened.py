"""Files that hold scans which are not seen: archives that are damaged or of another kind, and beginnings wiped out.

A whole CD may lie in one. Such a file is rejected, never passed over as if it were no image.
"""

import re

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.archive_stream import MAGIC
from pipeline.readers.foreign import inflated

ZIP_NAME = re.compile(r"\.zip$", re.IGNORECASE)
PART_NAME = re.compile(r"\.(zip\.\d{3}|z\d\d)$", re.IGNORECASE)
OTHER_NAME = re.compile(r"\.(7z|rar|iso|tar|tgz|tbz2?|txz|tar\.(gz|bz2|xz|zst))$", re.IGNORECASE)

OTHER_MAGIC = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
}
TAR, TAR_AT = b"ustar", 257
"""Of a tar archive of POSIX or GNU; older ones are told by name alone."""

DISC, DISC_AT = b"CD001", 0x8001
"""Of an image of a disc: the descriptor in its sector 16 (ECMA-119 8.4)."""

SPANNED = (b"PK\x07\x08", b"PK00PK\x03\x04")
"""How the first part of an archive in several begins, and what was to become one (APPNOTE 8.5.3, 8.5.4)."""

WIPED_BYTES = 2048
"""A sector of a CD. No format that is read begins with as many zeros; a DICOM preamble has 128 bytes."""

RAW_NAME = re.compile(r"\.(img|raw|bin)(\.gz)?$", re.IGNORECASE)
"""Bare voxels beside a header in another file, which begin with zeros where the image begins with air."""


def hidden_fault(name: str, content: bytes) -> RejectedInput | None:
    """Tell why a file that no reader claims may hold scans all the same; None: it does not say that it does.

    Parameters
    ----------
    name : str
        Of the file.
    content : bytes
        Its beginning.
    """
    if fault := _archive_fault(name, content):
        return RejectedInput(*fault)
    if len(content) >= WIPED_BYTES and not any(content[:WIPED_BYTES]) and not RAW_NAME.search(name):
        return RejectedInput(
            Code.CORRUPT, f"its first {WIPED_BYTES} bytes are zeros, so that nothing tells what it was: copy it again"
        )
    return None


def _archive_fault(name: str, content: bytes) -> tuple[Code, str] | None:
    if content.startswith(SPANNED) or PART_NAME.search(name):
        return Code.NOT_SUPPORTED, "a part of an archive in several: join and unpack them"
    if kind := _other_kind(content):
        return Code.NOT_SUPPORTED, f"an archive of another kind ({kind}): unpack it"
    if OTHER_NAME.search(name):
        return Code.NOT_SUPPORTED, "by its name an archive of another kind: unpack it"
    if not ZIP_NAME.search(name) or content.startswith(MAGIC):
        return None
    if not content:
        return Code.TRUNCATED, "an archive by its name, but the file is empty: copy it again"
    if content.startswith((b"MZ", b"\x7fELF", b"#!")):
        return Code.NOT_SUPPORTED, "a program stands before the archive (it extracts itself): unpack it"
    return Code.CORRUPT, "an archive by its name, but it does not begin as one: copy it again, or unpack it"


def _other_kind(content: bytes) -> str:
    if kind := next((kind for magic, kind in OTHER_MAGIC.items() if content.startswith(magic)), ""):
        return kind
    if _is_tar(content) or _is_tar(inflated(content, TAR_AT + len(TAR))):
        return "tar"
    return "an image of a disc" if content.startswith(DISC, DISC_AT) else ""


def _is_tar(content: bytes) -> bool:
    return content.startswith(TAR, TAR_AT)
