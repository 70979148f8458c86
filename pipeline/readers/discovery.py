"""From a folder to series: by content, never by file name; every file ends in a series or in a refusal."""

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.domain.codes import Code
from pipeline.domain.series import Discovery, Refusal, Series, SourceFile
from pipeline.errors import RejectedInput, ResdxError, UsageError, refusal_of
from pipeline.progress import track
from pipeline.readers.digest_memory import DigestMemory
from pipeline.readers.foreign import foreign_fault
from pipeline.readers.index import FolderIndex
from pipeline.readers.loading import Beginning, beginnings, load
from pipeline.readers.neighbours import with_neighbours
from pipeline.readers.opening import named_reader, reader_of, readers
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import HEAD_BYTES, Assembled, HeaderCutError, Load
from pipeline.readers.unopened import hidden_fault
from pipeline.readers.walking import Entry, check_scans, walk

log = logging.getLogger("resdx")

APPLE_DOUBLE = b"\0\x05\x16\x07"
"""How the ``._NAME`` begins that macOS lays beside NAME, on disks of others and in archives (RFC 1740)."""

Inspected = tuple[SourceFile, Any]
"""A file and what its reader found in its header."""


def discover(
    root: Path,
    options: ReadOptions,
    *,
    only: Path | None = None,
    digests: bool = True,
    index: FolderIndex | None = None,
    memory: DigestMemory | None = None,
) -> Discovery:
    """Find every series below a folder.

    Files are visited in name order. Links to files inside the folder are read as copies; links that lead out of it, and
    links to folders, are refused UNREADABLE and not followed. A ZIP archive is read as a folder.

    Parameters
    ----------
    only : Path, optional
        A file or folder at or below `root`: what lies beside it is not looked at, and what is found is named as in all
        of `root`. For no `index` and no `memory`, which are about whole folders.
    digests : bool
        Whether to take the sha256 of every file. Without, only their headers are read.
    index : FolderIndex, optional
        Remembers what was found, and spares the headers of a folder in which nothing has changed.
    memory : DigestMemory, optional
        Of the process that looks at a folder again and again: spares the files that have not changed.

    Raises
    ------
    UsageError
        `root` does not exist, or is neither a folder nor a ZIP archive, or `only` does not lie in it.
    """
    assert only is None or (index is None and memory is None)
    check_scans(root)
    root = root.resolve() if root.is_dir() else root.parent.resolve() / root.name  # an archive is known by its name
    began_ns = time.time_ns()
    entries = walk(root, None if only is None else _place_in(root, only))
    if index and (remembered := index.recall(root, entries, options, digests=digests)):
        seldom = memory is None  # else the folder may be one that is looked at every few seconds
        log.log(
            logging.INFO if seldom else logging.DEBUG,
            "nothing has changed in %d files since they were last looked at",
            len(entries),
        )
        return remembered
    if memory is not None:
        memory.forget_others(entries)
    found = _discover(root, entries, options, digests=digests, memory=memory)
    if index:
        index.remember(found, entries, options, began_ns)
    return found


def _discover(
    root: Path, entries: Sequence[Entry], options: ReadOptions, *, digests: bool, memory: DigestMemory | None
) -> Discovery:
    headers: dict[str, list[Inspected]] = defaultdict(list)
    refusals: list[Refusal] = []
    begun = beginnings(entries, root, options.max_bytes, digests=digests, memory=memory)
    for beginning in track(begun, "read headers", len(entries)):
        _inspect(beginning, options, headers, refusals)
    series: list[Series] = []
    for name in sorted(headers):
        assembled = _assemble(name, headers[name], options)
        series.extend(assembled.series)
        refusals.extend(assembled.refusals)
    refusals.sort(key=lambda refusal: refusal.file.relative)
    found = Discovery(root, with_neighbours(series, refusals), tuple(refusals))
    assert len(found.files) == len(entries), f"{len(entries)} files in, {len(found.files)} accounted for"
    return found


def _place_in(root: Path, only: Path) -> Path:
    """Absolute path as it begins with `root`; a link to a file keeps its own name."""
    place = only.resolve() if only.is_dir() else only.parent.resolve() / only.name
    if not place.is_relative_to(root):
        raise UsageError(f"{only} does not lie in {root}.", "Name what holds it.")
    return place


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


def _inspect(
    beginning: Beginning, options: ReadOptions, headers: dict[str, list[Inspected]], refusals: list[Refusal]
) -> None:
    file, content = beginning.file, beginning.content
    try:
        if beginning.error is not None and not content:
            raise beginning.error
        name = _reader_for(file, content)
        if beginning.error is not None:
            raise beginning.error
        part = readers()[name]
        try:
            header = part.inspect(file, content, options)
        except HeaderCutError:
            header = part.inspect(file, load(replace(file, sha256="")), options)
        headers[name].append((file, header))
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


def _reader_for(file: SourceFile, content: bytes) -> str:
    """Name of the reader; refuses what is no image, as a skip unless its name claims that it is one."""
    if content.startswith(APPLE_DOUBLE):
        raise RejectedInput(Code.NOT_AN_IMAGE, "what macOS keeps about the file beside it (AppleDouble)")
    name = reader_of(content[:HEAD_BYTES])
    if name:
        return name
    if foreign := foreign_fault(file.path.name, content, file.size):
        raise foreign
    if hidden := hidden_fault(file.path.name, content):
        raise hidden
    claimed = named_reader(file.path.name)
    if claimed and not content:
        raise RejectedInput(Code.TRUNCATED, "the file is empty")
    if claimed:
        raise RejectedInput(Code.BAD_HEADER, f"its name says {claimed}, its content does not")
    raise RejectedInput(Code.NOT_AN_IMAGE, "no image format that is known")
