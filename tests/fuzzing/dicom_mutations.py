"""Damage that knows DICOM: lengths, value representations, elements, values of the header, compressed streams."""

import struct
from collections.abc import Callable
from dataclasses import replace
from random import Random

from fuzzing.dicom_bytes import PIXEL_DATA, UNDEFINED, DicomBytes, Element
from pydicom.uid import AllTransferSyntaxes

Mutation = Callable[[DicomBytes, Random], DicomBytes]

ITEM, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"

VRS = tuple(b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN US UT".split())

DECIMALS = {
    0x00200032: "ImagePositionPatient",
    0x00200037: "ImageOrientationPatient",
    0x00280030: "PixelSpacing",
    0x00181164: "ImagerPixelSpacing",
    0x00180050: "SliceThickness",
    0x00281053: "RescaleSlope",
    0x00281052: "RescaleIntercept",
}
NUMBERS = {
    0x00280002: "SamplesPerPixel",
    0x00280006: "PlanarConfiguration",
    0x00280010: "Rows",
    0x00280011: "Columns",
    0x00280100: "BitsAllocated",
    0x00280101: "BitsStored",
    0x00280102: "HighBit",
    0x00280103: "PixelRepresentation",
}
WORDS = {
    0x00080008: ("ORIGINAL\\PRIMARY\\LOCALIZER", "DERIVED\\SECONDARY\\MOSAIC", "ORIGINAL\\PRIMARY\\M\\NORM", ""),
    0x00080016: ("1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.88.11", "1.2.3", ""),
    0x00080060: ("CT", "MR", "PT", "US", "SR", "ct", ""),
    0x0020000E: ("1.2.3", ""),
    0x00080018: ("1.2.3", ""),
    0x00200052: ("1.2.3", ""),
    0x00200013: ("1", "2", "-1", "x", ""),
    0x00280004: ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "PALETTE COLOR", ""),
    0x00280008: ("1", "2", "3", "0", "-1", "2147483647", "x", ""),
}
"""Terms that decide what an image is."""

MISSING = {0x00280120: b"US", 0x00280030: b"DS", 0x00281053: b"DS", 0x00200032: b"DS", 0x00280008: b"IS"}
"""Elements that may be put where there are none."""

ODD_DECIMALS = ("nan", "inf", "-0", "0", "1,5", "1e400", "1_0", "0x10", "one", "", " ", "\u0661", "1e-9", "+7.50e0")


def bit_of_header(file: DicomBytes, random: Random) -> DicomBytes:
    """Flip a bit before the pixels."""
    end = next((one.value for one in file.elements() if one.tag == PIXEL_DATA), len(file.body))
    changed = bytearray(file.body)
    changed[random.randrange(max(1, end))] ^= 1 << random.randrange(8)
    return replace(file, body=bytes(changed))


def pixel_bytes(file: DicomBytes, random: Random) -> DicomBytes:
    """Flip bits of the value of Pixel Data."""
    start = next((one.value for one in file.elements() if one.tag == PIXEL_DATA), 0)
    changed = bytearray(file.body)
    for _ in range(random.randint(1, 3)):
        changed[random.randrange(start, len(changed))] ^= 1 << random.randrange(8)
    return replace(file, body=bytes(changed))


def length_field(file: DicomBytes, random: Random) -> DicomBytes:
    """Give an element another length than its value has."""
    element = random.choice(file.elements())
    shape = f"{file.order}L" if file.implicit or element.value - element.start == 12 else f"{file.order}H"
    most = UNDEFINED if shape[1] == "L" else 0xFFFF
    true = min(element.end - element.value, most)
    length = random.choice((0, 1, true + 1, true + 2, true - 2, 2 * true, most, most - 1, 0x7FFF, 0x01000000)) & most
    at = element.value - struct.calcsize(shape)
    return replace(file, body=file.body[:at] + struct.pack(shape, length) + file.body[element.value :])


def swap_vr(file: DicomBytes, random: Random) -> DicomBytes:
    """Give an element another value representation; in an implicit file another tag."""
    element = random.choice(file.elements())
    at = element.start + (0 if file.implicit else 4)
    changed = random.randbytes(2) if file.implicit else random.choice((*VRS, b"??", b"\0\0"))
    return replace(file, body=file.body[:at] + changed + file.body[at + 2 :])


def delete(file: DicomBytes, random: Random) -> DicomBytes:
    """Take an element out."""
    element = random.choice(file.elements())
    return replace(file, body=file.body[: element.start] + file.body[element.end :])


def repeat(file: DicomBytes, random: Random) -> DicomBytes:
    """Let an element follow itself, or stand somewhere else too, with another value or the same."""
    element = _chosen(file, random)
    copy = file.body[element.start : element.end]
    if random.random() < 0.7 and element.end - element.value > 1:
        offset = element.value - element.start
        copy = copy[:offset] + bytes(reversed(copy[offset:]))
    at = random.choice((element.end, element.start, random.choice(file.elements()).start))
    return replace(file, body=file.body[:at] + copy + file.body[at:])


def swap_elements(file: DicomBytes, random: Random) -> DicomBytes:
    """Put two neighbours in the wrong order."""
    elements = file.elements()
    at = random.randrange(len(elements) - 1)
    first, second = elements[at : at + 2]
    parts = file.body[second.start : second.end] + file.body[first.start : first.end]
    return replace(file, body=file.body[: first.start] + parts + file.body[second.end :])


def decimal(file: DicomBytes, random: Random) -> DicomBytes:
    """Edit a number that geometry or intensity rests on."""
    chosen = file.named(list(DECIMALS))
    if not chosen:
        return number(file, random)
    element = random.choice(chosen)
    parts = file.body[element.value : element.end].decode("ascii", "replace").strip("\0 ").split("\\")
    kind, at = random.randrange(10), random.randrange(len(parts))
    if kind < 4:
        parts[at] = _moved(parts[at], random)
    elif kind < 5:
        parts[at] = random.choice(ODD_DECIMALS)
    elif kind < 6:
        parts = random.choice((parts[:-1], [*parts, "1"], parts[::-1], []))
    elif kind < 8:
        parts = [_moved(part, random) for part in parts]
    elif len(parts) == 6:  # another orientation, and a sound one
        parts = random.choice(("0\\1\\0\\0\\0\\-1", "1\\0\\0\\0\\0\\-1", "-1\\0\\0\\0\\1\\0")).split("\\")
    else:
        parts = [random.choice(("0.25", "1.5", "2", "-3.5", "7")) for _ in parts]
    return file.with_value(element, "\\".join(parts).encode())


def number(file: DicomBytes, random: Random) -> DicomBytes:
    """Edit a number that describes the pixels."""
    element = random.choice(file.named(list(NUMBERS)))
    (old,) = struct.unpack_from(f"{file.order}H", file.body, element.value)
    choices = (0, 1, 2, 3, 7, 8, 9, 10, 11, 12, 15, 16, 17, 31, 32, 64, 255, 60000, 65535, old + 1, old - 1, 2 * old)
    return file.with_value(element, struct.pack(f"{file.order}H", random.choice(choices) & 0xFFFF))


def word(file: DicomBytes, random: Random) -> DicomBytes:
    """Edit a term that decides what the image is."""
    element = random.choice(file.named(list(WORDS)))
    return file.with_value(element, random.choice(WORDS[element.tag]).encode())


def insert(file: DicomBytes, random: Random) -> DicomBytes:
    """Put in an element in its place among the others."""
    tag = random.choice([tag for tag in MISSING if not file.named([tag])] or list(MISSING))
    vr = MISSING[tag]
    value = struct.pack(f"{file.order}H", random.choice((0, 5, 4095, 65535)))
    if vr != b"US":
        value = random.choice((b"1 ", b"2 ", b"0.5 ", b"3\\3 ", b"", b"1\\2\\3 "))
    head = struct.pack(f"{file.order}HH", tag >> 16, tag & 0xFFFF)
    head += (
        struct.pack(f"{file.order}L", len(value)) if file.implicit else vr + struct.pack(f"{file.order}H", len(value))
    )
    at = next((one.start for one in file.elements() if one.tag >= tag), len(file.body))
    return replace(file, body=file.body[:at] + head + value + file.body[at:])


def transfer_syntax(file: DicomBytes, random: Random) -> DicomBytes:
    """Let the file meta information name another transfer syntax of the same length, or none that exists."""
    start = file.head.index(b"\x02\0\x10\0UI") + 8
    length = file.head[start - 2]
    fitting = [uid.encode() for uid in AllTransferSyntaxes if (len(uid) + 1) // 2 * 2 == length]
    value = random.choice([*fitting, b"1.2.3"]).ljust(length, b"\0")
    return replace(file, head=file.head[:start] + value + file.head[start + length :])


def stream(file: DicomBytes, random: Random) -> DicomBytes:
    """Damage what compressed pixels consist of: items, fragments, the head of a codestream; else bytes of pixels."""
    pixels = file.named([PIXEL_DATA])
    if not pixels or not file.body.endswith(DELIMITER + bytes(4)):
        return pixel_bytes(file, random)
    start = pixels[0].value
    items = _items(file.body[start:-8])
    if len(items) < 2:
        return pixel_bytes(file, random)
    at = random.randrange(1, len(items))
    _STREAM_DAMAGE[random.randrange(len(_STREAM_DAMAGE))](items, at, random)
    packed = b"".join(ITEM + struct.pack("<L", len(item)) + item for item in items)
    end = b"" if random.random() < 0.1 else DELIMITER + bytes(4)
    return replace(file, body=file.body[:start] + packed + end)


def _head_of_stream(items: list[bytes], at: int, random: Random) -> None:
    changed = bytearray(items[at])
    changed[random.randrange(min(len(changed), 100))] = random.choice((0, 1, 7, 8, 255, random.randrange(256)))
    items[at] = bytes(changed)


def _body_of_stream(items: list[bytes], at: int, random: Random) -> None:
    changed = bytearray(items[at])
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    items[at] = bytes(changed)


def _cut_stream(items: list[bytes], at: int, random: Random) -> None:
    length = random.randrange(len(items[at])) // 2 * 2
    items[at] = items[at][:length]


def _part_stream(items: list[bytes], at: int, random: Random) -> None:
    length = random.randrange(len(items[at])) // 2 * 2
    items[at : at + 1] = [items[at][:length], items[at][length:]]


def _repeat_stream(items: list[bytes], at: int, random: Random) -> None:
    items.insert(random.choice((at, len(items))), items[at])


def _drop_stream(items: list[bytes], at: int, random: Random) -> None:
    del items[random.choice((0, at))]


def _offset_table(items: list[bytes], at: int, random: Random) -> None:
    items[0] = b"".join(struct.pack("<L", random.choice((0, 8, 1000, UNDEFINED))) for _ in range(random.randint(1, 3)))


_STREAM_DAMAGE = (
    *(_head_of_stream, _head_of_stream, _body_of_stream, _body_of_stream),
    *(_cut_stream, _part_stream, _repeat_stream, _drop_stream, _offset_table),
)

MUTATIONS: tuple[Mutation, ...] = (
    *(bit_of_header, bit_of_header, length_field, swap_vr, delete, repeat, swap_elements, insert, transfer_syntax),
    *(decimal, decimal, decimal, decimal, number, number, word),
    *(
        pixel_bytes,
        pixel_bytes,
        pixel_bytes,
        pixel_bytes,
        pixel_bytes,
        pixel_bytes,
        stream,
        stream,
        stream,
        stream,
        stream,
    ),
)


def _chosen(file: DicomBytes, random: Random) -> Element:
    """Mostly an element that the image rests on."""
    telling = file.named([*DECIMALS, *NUMBERS, *WORDS])
    return random.choice(telling if telling and random.random() < 0.8 else file.elements())


def _moved(text: str, random: Random) -> str:
    try:
        value = float(text)
    except ValueError:
        return text
    by = random.choice((1e-6, 1e-4, 0.003, 0.02, 0.1, 1.0, -0.5, 1000.0))
    return f"{random.choice((value + by, value * (1 + by), -value)):.10g}"


def _items(content: bytes) -> list[bytes]:
    found, position = [], 0
    while position + 8 <= len(content) and content[position : position + 4] == ITEM:
        (length,) = struct.unpack_from("<L", content, position + 4)
        found.append(content[position + 8 : position + 8 + length])
        position += 8 + length
    return found
