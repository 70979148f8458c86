"""An open ZIP archive and its members as streams, by the standard library's list of them (PKWARE's APPNOTE)."""

import io
import struct
import zlib
from pathlib import Path
from threading import Lock
from typing import IO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
"""How an archive begins, and one that holds nothing. An office document begins so too: the name counts as well."""

MOST_DIRECTORY_BYTES = 16 * 1024**2
"""Size of the list of members, which is held in memory."""

LOCAL = struct.Struct("<4s22xHH")
"""Header before a member: signature, and the lengths of its name and of what else stands between (APPNOTE 4.3.7)."""

DAMAGED = "the archive is damaged where this file lies in it"
PIECE_BYTES = 1024**2

COUNTED_TO = 0x10000
"""Some tools count the members in 16 bits however many there are."""

END, END_64, LOCATOR_64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
END_BYTES, LOCATOR_BYTES, END_64_BYTES, LONGEST_COMMENT = 22, 20, 56, 0xFFFF


class OpenArchive:
    """An open archive; threads take turns to read from it."""

    def __init__(self, path: Path, size: int) -> None:
        self.stream = path.open("rb")
        count = _check_directory(self.stream, size)
        self.list = ZipFile(self.stream)
        if (len(self.list.filelist) - count) % COUNTED_TO:
            message = f"the archive counts {count} files and lists {len(self.list.filelist)}"
            raise RejectedInput(Code.CORRUPT, message)
        self._turn = Lock()

    def read(self, place: int, size: int) -> bytes:
        """Bytes of the archive itself, from a place on; fewer at its end."""
        with self._turn:
            self.stream.seek(place)
            return self.stream.read(max(0, size))


class MemberStream(io.RawIOBase):
    """A member as a stream. What precedes damage is given; it is refused by whoever reads on, at the latest at the end.

    The library's own stream gives nothing of a small member whose checksum is wrong, also not which series lacks it.
    """

    def __init__(self, archive: OpenArchive, info: ZipInfo) -> None:
        self.size = info.file_size
        self._archive, self._crc, self._checksum, self._given = archive, info.CRC, 0, 0
        local = archive.read(info.header_offset, LOCAL.size)
        if len(local) < LOCAL.size or local[:4] != MAGIC[0]:
            raise RejectedInput(Code.CORRUPT, DAMAGED)
        _, name, extra = LOCAL.unpack(local)
        self._place = info.header_offset + LOCAL.size + name + extra
        self._end = self._place + info.compress_size
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if info.compress_type == ZIP_DEFLATED else None
        self._waiting = b""

    def read(self, size: int = -1, /) -> bytes:
        """Read as many bytes as are asked for, or up to the end or damage.

        Raises
        ------
        RejectedInput
            CORRUPT, once there is nothing more to give, or where all is asked for.
        """
        wanted = self.size - self._given if size < 0 else min(size, self.size - self._given)
        pieces: list[bytes] = []
        while wanted > 0 and (piece := self._piece(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
        found = b"".join(pieces)
        self._given += len(found)
        self._checksum = zlib.crc32(found, self._checksum)
        is_over = size < 0 or (size > 0 and not found)
        if is_over and (self._given, self._checksum) != (self.size, self._crc):
            raise RejectedInput(Code.CORRUPT, DAMAGED)
        return found

    def readall(self) -> bytes:
        """Read to the end; see :meth:`read`."""
        return self.read()

    def readable(self) -> bool:
        """Say so."""
        return True

    def fileno(self) -> int:
        """Descriptor of the archive."""
        return self._archive.stream.fileno()

    def _piece(self, most: int) -> bytes:
        if self._inflater is None:
            taken = self._archive.read(self._place, min(most, self._end - self._place))
            self._place += len(taken)
            return taken
        while True:
            if not self._waiting:
                self._waiting = self._archive.read(self._place, min(PIECE_BYTES, self._end - self._place))
                self._place += len(self._waiting)
            packed = self._waiting
            try:
                piece = self._inflater.decompress(packed, most)
            except zlib.error:
                self._place, self._waiting = self._end, b""
                return b""
            self._waiting = self._inflater.unconsumed_tail
            if piece or not packed:
                return piece


def _check_directory(stream: IO[bytes], size: int) -> int:
    """Refuse a list of members that is missing or larger than any real one, before it is held in memory.

    Returns how many members the archive counts.
    """
    start = max(0, size - END_BYTES - LONGEST_COMMENT)
    stream.seek(start)
    tail = stream.read()
    at = tail.rfind(END)
    if at < 0:
        raise RejectedInput(Code.TRUNCATED, "the archive ends before its list of files")
    count, length = struct.unpack_from("<HL", tail, at + 10)
    locator = at - LOCATOR_BYTES
    if locator >= 0 and tail[locator : locator + 4] == LOCATOR_64:  # APPNOTE 4.3.15
        (place,) = struct.unpack_from("<Q", tail, locator + 8)
        stream.seek(min(place, size))
        count, length = struct.unpack_from("<QQ", stream.read(END_64_BYTES), 32)
    if length > MOST_DIRECTORY_BYTES:
        message = f"the archive's list of files takes {length} bytes; the limit is {MOST_DIRECTORY_BYTES}"
        raise RejectedInput(Code.TOO_LARGE, message)
    return int(count)
