"""Lookup tables: of a modality (PS3.3 C.11.1.1) to output units, of a palette (C.7.6.3.1.5) to colours."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.content import PARSE_ERRORS
from pipeline.readers.dicom.values import numbers

COLOURS = ("Red", "Green", "Blue")
SIXTEEN_BITS = 1 << 16
WORDS, BYTES = 2, 1
"""Bytes of an entry: those of 8 bits may be packed, two a word, or take a word each."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """How many entries a table has, the stored value that the first one stands for, and bits of an entry."""

    count: int
    first: int
    bits: int


def modality_table(table: Dataset, *, signed: bool, little: bool) -> tuple[Descriptor, NDArray[np.uint16]]:
    """Read an item of ModalityLUTSequence.

    Parameters
    ----------
    signed, little : bool
        Whether stored values have a sign, and whether the file is little endian.

    Raises
    ------
    RejectedInput
        BAD_VALUE.
    """
    descriptor = descriptor_of(table, "LUTDescriptor", signed=signed)
    entries = _entries(table, "LUTData", descriptor, little=little)
    if int(entries.max()) >= 1 << descriptor.bits:
        message = f"an entry of LUTData needs more than the {descriptor.bits} bits that LUTDescriptor says"
        raise RejectedInput(Code.BAD_VALUE, message)
    return descriptor, entries


def palette_of(dataset: Dataset, *, signed: bool, little: bool) -> tuple[Descriptor, NDArray[np.uint8]]:
    """Colours of a palette, RGB of 8 bits each, shape (entries, 3); of 16 bits the upper 8 are kept, as screens do.

    Raises
    ------
    RejectedInput
        BAD_VALUE; NOT_SUPPORTED.
    """
    names = [f"{colour}PaletteColorLookupTable" for colour in COLOURS]
    descriptors = {descriptor_of(dataset, f"{name}Descriptor", signed=signed) for name in names}
    if len(descriptors) > 1:
        raise RejectedInput(Code.BAD_VALUE, "the three tables of the palette are of different sizes")
    (descriptor,) = descriptors
    if descriptor.bits not in (8, 16):
        raise RejectedInput(Code.BAD_VALUE, f"the palette has entries of {descriptor.bits} bits instead of 8 or 16")
    if f"{names[0]}Data" in dataset:
        tables = np.stack([_entries(dataset, f"{name}Data", descriptor, little=little) for name in names], axis=-1)
        is_packed = len(dataset.get(f"{names[0]}Data")) < WORDS * descriptor.count
    elif f"Segmented{names[0]}Data" in dataset:
        tables, is_packed = _expanded(dataset, descriptor), False
    else:
        raise RejectedInput(Code.BAD_VALUE, "the palette has no colours")
    if is_packed or descriptor.bits == 8:
        if int(tables.max()) > np.iinfo(np.uint8).max:
            raise RejectedInput(Code.BAD_VALUE, "an entry of the palette needs more than the 8 bits that it says")
        return descriptor, tables.astype(np.uint8)
    if 0 < int(tables.max()) <= np.iinfo(np.uint8).max:
        raise RejectedInput(Code.BAD_VALUE, "the palette says 16 bits an entry and uses none of the upper 8")
    return descriptor, (tables >> 8).astype(np.uint8)


def looked_up(
    stored: NDArray[np.integer], descriptor: Descriptor, entries: NDArray[np.unsignedinteger]
) -> NDArray[np.unsignedinteger]:
    """Entries for stored values; what lies below or beyond the table takes its first or last entry."""
    index = np.clip(stored.astype(np.int64) - descriptor.first, 0, descriptor.count - 1)
    return entries[index]


def descriptor_of(dataset: Dataset, keyword: str, *, signed: bool) -> Descriptor:
    """Read a LUT descriptor, whose second value has the sign of the pixels, whatever its value representation."""
    found = numbers(dataset, keyword, 3)
    if found is None:
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} is missing")
    count, first, bits = (int(value) for value in found)
    first %= SIXTEEN_BITS
    first -= SIXTEEN_BITS if signed and first >= SIXTEEN_BITS // 2 else 0
    if not 1 <= bits <= 16:
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} says {bits} bits an entry")
    return Descriptor(count % SIXTEEN_BITS or SIXTEEN_BITS, first, bits)


def _entries(dataset: Dataset, keyword: str, descriptor: Descriptor, *, little: bool) -> NDArray[np.uint16]:
    """Entries of a table, packed bytes or words, in a value of bytes or of numbers."""
    try:
        value = dataset.get(keyword)
    except PARSE_ERRORS as error:
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} is malformed") from error
    if value is None:
        raise RejectedInput(Code.BAD_VALUE, f"{keyword} is missing")
    if not isinstance(value, bytes):
        whole = [value] if isinstance(value, int) else list(value)
        try:
            value = np.array(whole, dtype="<u2" if little else ">u2").tobytes()
        except (ValueError, TypeError, OverflowError) as error:
            raise RejectedInput(Code.BAD_VALUE, f"{keyword} holds no whole numbers of 16 bits") from error
    count = descriptor.count
    if len(value) == WORDS * count:
        return np.frombuffer(value, "<u2" if little else ">u2").astype(np.uint16)
    if len(value) == count + count % 2:
        packed = np.frombuffer(value, np.uint8)
        ordered = packed if little else packed.reshape(-1, 2)[:, ::-1].ravel()
        return ordered[:count].astype(np.uint16)
    raise RejectedInput(Code.BAD_VALUE, f"{keyword} has {len(value)} bytes for {count} entries")


def _expanded(dataset: Dataset, descriptor: Descriptor) -> NDArray[np.uint16]:
    """Expand segmented tables (PS3.3 C.7.9.2) by looking up each of their entries."""
    if descriptor.bits == 8 and descriptor.count > 1 << 8:
        raise RejectedInput(Code.NOT_SUPPORTED, "a segmented palette of more than 256 entries of 8 bits")
    every = np.arange(descriptor.first, descriptor.first + descriptor.count, dtype=np.int32)
    try:
        found = np.asarray(apply_color_lut(every, dataset))
    except (*PARSE_ERRORS, RuntimeError) as error:
        raise RejectedInput(Code.BAD_VALUE, "the segments of the palette make no table") from error
    return found[:, :3].astype(np.uint16)
