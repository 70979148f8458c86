"""From a folder to series: by content, never by file name; every file ends in a series or in a refusal."""

import hashlib
import logging
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.domain.codes import Code
from pipeline.domain.series import Discovery, Refusal, Series, SourceFile
from pipeline.errors import RejectedInput, ResdxError, UsageError, refusal_of
from pipeline.progress import track
from pipeline.readers.opening import named_reader, reader_of, readers
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import HEAD_BYTES, Assembled, Load

log = logging.getLogger("resdx")

Inspected = tuple[SourceFile, Any]
"""A file and what its reader found in its header."""


OTHER_IMAGES = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "BigTIFF",
    b"GIF8": "GIF",
    b"NRRD": "NRRD",
    b"ObjectType = Image": "MetaImage",
    b"\x89HDF\r\n\x1a\n": "HDF5 (MINC 2)",
    b"CDF\x01": "NetCDF (MINC 1)",
}
"""How images begin that no reader reads: they are rejected, not passed over as if they were none."""


def discover(root: Path, options: ReadOptions) -> Discovery:
    """Find every series below a folder.

    Files are visited in name order. Links to files inside the folder are read as copies; links that lead out of it, and
    links to folders, are refused UNREADABLE and not followed.

    Raises
    ------
    UsageError
        If `root` is no folder.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is no folder.", "Give the folder that holds the scans.")
    root = root.resolve()
    headers: dict[str, list[Inspected]] = defaultdict(list)
    refusals: list[Refusal] = []
    paths = sorted(_walk(root))
    for path in track(paths, "read headers", len(paths)):
        _inspect(path, root, options, headers, refusals)
    series: list[Series] = []
    for name in sorted(headers):
        assembled = _assemble(name, headers[name], options)
        series.extend(assembled.series)
        refusals.extend(assembled.refusals)
    refusals.sort(key=lambda refusal: refusal.file.relative)
    found = Discovery(root, tuple(series), tuple(refusals))
    assert found.file_count == len(paths), f"{len(paths)} files in, {found.file_count} accounted for"
    return found


def load(file: SourceFile) -> bytes:
    """Read a file whole and verify its sha256 where one is known.

    Raises
    ------
    RejectedInput
        UNREADABLE, or CHANGED.
    """
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise RejectedInput(Code.UNREADABLE, f"cannot be read: {error.strerror}", path=str(file.path)) from error
    if file.sha256 and hashlib.sha256(content).hexdigest() != file.sha256:
        raise RejectedInput(Code.CHANGED, "the file is not the one that was discovered", path=str(file.path))
    return content


def reopen(reader: str, files: Sequence[SourceFile], stack: int, options: ReadOptions, load: Load = load) -> Series:
    """Derive one series again from exactly its files, as when a manifest is read back.

    Raises
    ------
    RejectedInput
        A file has changed, cannot be read, or the files no longer make the series.
    """
    if reader not in readers():
        raise RejectedInput(Code.NOT_SUPPORTED, f"there is no reader named {reader!r}")
    part = readers()[reader]
    headers = [part.inspect(file, load(file), options) for file in files]
    assembled = part.assemble(headers, options)
    matching = [series for series in assembled.series if series.stack == stack]
    if len(matching) != 1:
        cause = next((f"{one.code}: {one.message}" for one in assembled.refusals), "its files make another series now")
        raise RejectedInput(Code.CHANGED, f"the series cannot be opened again ({cause})")
    return matching[0]


def _walk(root: Path) -> Iterator[Path]:
    """Every entry that is no real folder, however deep; folders that cannot be listed are entries too."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = [(Path(entry.path), _is_folder(entry)) for entry in listing]
        except OSError:
            yield folder
            continue
        folders += [path for path, is_folder in entries if is_folder]
        yield from (path for path, is_folder in entries if not is_folder)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # looked at as a file, it is refused with the reason
        return False


def _inspect(
    path: Path, root: Path, options: ReadOptions, headers: dict[str, list[Inspected]], refusals: list[Refusal]
) -> None:
    file = SourceFile(path, path.relative_to(root).as_posix(), 0)
    try:
        content = _content(path, root, options)
        file = SourceFile(path, file.relative, len(content), hashlib.sha256(content).hexdigest())
        name = _reader_for(file, content)
        headers[name].append((file, readers()[name].inspect(file, content, options)))
    except Exception as error:  # noqa: BLE001 - one file may not stop the folder
        refused = _refusal_of(error)
        refusals.append(Refusal(file, Code(refused.code), refused.message))


def _assemble(name: str, inspected: Sequence[Inspected], options: ReadOptions) -> Assembled:
    try:
        return readers()[name].assemble([header for _, header in inspected], options)
    except Exception as error:  # noqa: BLE001 - one reader may not stop the others
        refused = _refusal_of(error)
        return Assembled((), tuple(Refusal(file, Code(refused.code), refused.message) for file, _ in inspected))


def _refusal_of(error: Exception) -> RejectedInput:
    """Refusal that was raised or that stands for what nobody foresaw; other errors that speak to the user pass."""
    if isinstance(error, RejectedInput):
        return error
    if isinstance(error, ResdxError):
        raise error
    log.debug("not foreseen", exc_info=error)
    return refusal_of(error)


def _content(path: Path, root: Path, options: ReadOptions) -> bytes:
    try:
        target = path.resolve()
        if not target.is_relative_to(root):
            raise RejectedInput(Code.UNREADABLE, "a link that leads out of the scan folder is not followed")
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise RejectedInput(
                Code.UNREADABLE, "is no regular file (a pipe, a device, an unreadable or linked folder)"
            )
        if status.st_size > options.max_bytes:
            raise RejectedInput(
                Code.TOO_LARGE, f"the file has {status.st_size} bytes, the limit is {options.max_bytes}"
            )
        return path.read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        reason = getattr(error, "strerror", None) or "a loop of links"
        raise RejectedInput(Code.UNREADABLE, f"cannot be read: {reason}") from error


def _reader_for(file: SourceFile, content: bytes) -> str:
    """Name of the reader; refuses what is no image, as a skip unless its name claims that it is one."""
    name = reader_of(content[:HEAD_BYTES])
    if name:
        return name
    if other := next((form for magic, form in OTHER_IMAGES.items() if content.startswith(magic)), ""):
        raise RejectedInput(Code.NOT_SUPPORTED, f"a {other} image, a format that is not read")
    claimed = named_reader(file.path.name)
    if claimed and not content:
        raise RejectedInput(Code.TRUNCATED, "the file is empty")
    if claimed:
        raise RejectedInput(Code.BAD_HEADER, f"its name says {claimed}, its content does not")
    raise RejectedInput(Code.NOT_AN_IMAGE, "no image format that is known")
