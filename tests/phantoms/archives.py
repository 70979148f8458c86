"""ZIP archives, sound and as nobody should make them."""

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

LOCAL, LISTED, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def zip_folder(folder: Path, path: Path, *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Pack every file below a folder; the folder stays."""
    files = {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }
    return write_zip(path, files, method=method)


def write_zip(path: Path, files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Pack files under names that nothing corrects."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo("x", (2024, 1, 31, 10, 11, 12))
            info.filename, info.compress_type = name, method
            archive.writestr(info, content)
    return path


def write_link(path: Path, name: str, target: str) -> Path:
    """Add a symbolic link, as Unix archivers store it."""
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, target)
    return path


def set_listed(
    path: Path, name: str, *, flags: int | None = None, offset: int | None = None, comment_bytes: int | None = None
) -> Path:
    """Change what the list of members says of one."""
    content = bytearray(path.read_bytes())
    at = content.index(LISTED)
    while True:
        lengths = struct.unpack_from("<HHH", content, at + 28)
        if content[at + 46 : at + 46 + lengths[0]] == name.encode():
            break
        at += 46 + sum(lengths)
    if flags is not None:
        struct.pack_into("<H", content, at + 8, flags)
    if comment_bytes is not None:
        struct.pack_into("<H", content, at + 32, comment_bytes)
    if offset is not None:
        struct.pack_into("<L", content, at + 42, offset)
    path.write_bytes(content)
    return path


def set_directory_size(path: Path, size: int) -> Path:
    """Let the end of an archive claim a list of members of this many bytes."""
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.rindex(END) + 12, size)
    path.write_bytes(content)
    return path
