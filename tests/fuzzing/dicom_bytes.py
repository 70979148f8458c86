"""A DICOM file taken apart into its elements, by code that shares nothing with the reader under test."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

LONG = frozenset([b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"])
"""Value representations with a length of four bytes (PS3.5 7.1.2)."""

PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
META = 132
"""Where the file meta information begins."""


class Element(NamedTuple):
    """Where an element of the top level begins, its value begins, and both end."""

    tag: int
    start: int
    value: int
    end: int
    vr: bytes


@dataclass(frozen=True, slots=True)
class DicomBytes:
    """Preamble and file meta information, and the data set (inflated)."""

    head: bytes
    body: bytes
    implicit: bool
    big: bool
    deflated: bool

    @classmethod
    def parse(cls, content: bytes) -> "DicomBytes":
        """Take a sound file apart."""
        (length,) = struct.unpack_from("<L", content, META + 8)
        start = META + 12 + length
        head = content[:start]
        uid = head[head.index(b"\x02\0\x10\0UI") + 8 :].split(b"\x02\0")[0].rstrip(b"\0").decode()
        deflated = uid == DeflatedExplicitVRLittleEndian
        body = zlib.decompress(content[start:], -15) if deflated else content[start:]
        return cls(head, body, uid == ImplicitVRLittleEndian, uid == ExplicitVRBigEndian, deflated)

    @property
    def order(self) -> str:
        return ">" if self.big else "<"

    def elements(self) -> list[Element]:
        """Elements of the top level, in their order."""
        found, position = [], 0
        while position + 8 <= len(self.body):
            group, number, length = struct.unpack_from(f"{self.order}HHL", self.body, position)
            value, vr = position + 8, b""
            if not self.implicit:
                vr = self.body[position + 4 : position + 6]
                if vr in LONG:
                    (length,) = struct.unpack_from(f"{self.order}L", self.body, position + 8)
                    value = position + 12
                else:
                    (length,) = struct.unpack_from(f"{self.order}H", self.body, position + 6)
            end = len(self.body) if length == UNDEFINED else value + length
            found.append(Element(group << 16 | number, position, value, end, vr))
            position = end
        return found

    def named(self, tags: Sequence[int]) -> list[Element]:
        return [element for element in self.elements() if element.tag in tags]

    def with_value(self, element: Element, value: bytes) -> "DicomBytes":
        """The file with another value, and the length that belongs to it."""
        value += b" " * (len(value) % 2)
        shape = f"{self.order}L" if self.implicit or element.vr in LONG else f"{self.order}H"
        size = struct.calcsize(shape)
        before = self.body[: element.value - size] + struct.pack(shape, len(value))
        return replace(self, body=before + value + self.body[element.end :])

    def join(self) -> bytes:
        """The file."""
        if not self.deflated:
            return self.head + self.body
        packer = zlib.compressobj(wbits=-15)
        return self.head + packer.compress(self.body) + packer.flush()
