"""Stored pixels to output units (PS3.3 C.11.1), and where the scanner wrote padding.

MONOCHROME1 is turned over, so that larger is brighter, in every image whose values have no unit. Values with a unit
(HU, Bq/ml) say nothing about brightness; such an image that claims MONOCHROME1 is refused.
"""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.decoders import Pixels
from pipeline.readers.dicom.pixel_format import PixelFormat
from pipeline.readers.dicom.tables import looked_up, modality_table
from pipeline.readers.dicom.values import item, number, numbers

WITH_UNIT = frozenset({"CT", "PT"})

MOVED_EXACTLY = 2**24 - 2**16
"""Whole numbers that added to any 16-bit number give at most 2**24, up to which float32 holds every whole number."""

SHORT_BITS = 16
"""BitsAllocated up to which float32 holds every stored value."""

FLOAT32_SAFE = 3e38
"""What is smaller in magnitude becomes no infinity in float32, whose largest value is 3.4e38."""


def rescale_into(
    out: NDArray[np.float32], stored: Pixels, rescale: Dataset, layout: PixelFormat, modality: str
) -> None:
    """Write stored values in output units to `out`, of the same shape.

    Parameters
    ----------
    rescale : Dataset
        What holds RescaleSlope and RescaleIntercept, or the Modality LUT: the image, or the frame's functional group.

    Raises
    ------
    RejectedInput
        BAD_VALUE; NOT_FINITE; NOT_SUPPORTED for MONOCHROME1 with values that have a unit, and for whole numbers that
        float32 cannot hold.
    """
    inverted = layout.photometric == "MONOCHROME1"
    if inverted and modality in WITH_UNIT:
        raise RejectedInput(Code.NOT_SUPPORTED, f"MONOCHROME1 in {modality}, whose values have a unit")
    table = item(rescale, "ModalityLUTSequence")
    if table is not None:
        descriptor, entries = modality_table(table, signed=layout.signed, little=layout.little)
        values = looked_up(stored, descriptor, entries)
        out[...] = values
        if inverted:
            np.subtract(np.float32((1 << descriptor.bits) - 1), out, out=out)
        return
    if inverted:
        stored = turned_over(stored, layout)
    slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
    if (slope is None) != (intercept is None):
        missing = "RescaleSlope" if slope is None else "RescaleIntercept"
        raise RejectedInput(Code.BAD_VALUE, f"{missing} is missing, its companion is there")
    if slope == 0:
        raise RejectedInput(Code.BAD_VALUE, "RescaleSlope is 0")
    linear(stored, slope or 1.0, intercept or 0.0, out)
    if layout.bits_allocated > SHORT_BITS and (slope or 1.0) == 1.0 and (intercept or 0.0).is_integer():
        _check_exact(out, stored, intercept or 0.0)


def _check_exact(moved: NDArray[np.float32], stored: Pixels, intercept: float) -> None:
    """Refuse whole numbers that were rounded: those of 32 bits that are measured are scaled, and rounded anyway."""
    if (moved.astype(np.float64) - intercept != stored).any():
        raise RejectedInput(
            Code.NOT_SUPPORTED, "the pixels are whole numbers that need more than the 24 bits of float32"
        )


def linear(
    stored: Pixels, slope: float, intercept: float, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Compute stored * slope + intercept in float64, rounded once to float32, into `out` where it is given.

    Integers of 8 or 16 bits that are only moved by a whole number stay whole numbers that float32 holds exactly: they
    are moved in float32, which gives the same bits in a fifth of the time.

    Raises
    ------
    RejectedInput
        NOT_FINITE.
    """
    values = np.empty(stored.shape, np.float32) if out is None else out
    if slope == 1.0 and intercept.is_integer() and abs(intercept) < MOVED_EXACTLY and stored.dtype.itemsize <= 2:
        values[...] = stored  # and then moves them: NumPy adds numbers of two types much more slowly
        if intercept:
            values += np.float32(intercept)
        return values
    with np.errstate(over="ignore"):
        scaled = np.multiply(stored, slope, dtype=np.float64)
        scaled += intercept
        values[...] = scaled
    largest = abs(slope) * 2.0 ** (8 * stored.dtype.itemsize) + abs(intercept)
    if largest >= FLOAT32_SAFE and not np.isfinite(values).all():
        raise RejectedInput(Code.NOT_FINITE, "rescaled values lie beyond what a number can hold")
    return values


def turned_over(stored: Pixels, layout: PixelFormat) -> Pixels:
    """Mirror the range of stored values: its least becomes its largest."""
    top = -1 if layout.signed else 2**layout.bits_stored - 1
    return np.asarray(top - stored.astype(np.int64))


def padding_mask(stored: Pixels, dataset: Dataset, layout: PixelFormat) -> NDArray[np.bool_] | None:
    """Find pixels that the scanner wrote outside its field (PS3.3 C.7.5.1.1.2); None where there are none.

    Raises
    ------
    RejectedInput
        BAD_VALUE.
    """
    found = padding_range(dataset, layout)
    if found is None:
        return None
    low, high = found
    mask = (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def padding_range(dataset: Dataset, layout: PixelFormat) -> tuple[int, int] | None:
    """Least and largest pixel value of padding; None where the header speaks of none.

    Raises
    ------
    RejectedInput
        BAD_VALUE.
    """
    value = _pixel_value(dataset, "PixelPaddingValue", layout)
    if value is None:
        return None
    limit = _pixel_value(dataset, "PixelPaddingRangeLimit", layout)
    low, high = sorted((value, value if limit is None else limit))
    return low, high


def padding_beyond_bits(dataset: Dataset, layout: PixelFormat) -> tuple[int, int] | None:
    """Range of padding that BitsStored cannot hold: only whole cells show it. None where there is none of that kind."""
    if layout.bits_stored == layout.bits_allocated:
        return None
    found = padding_range(dataset, layout)
    low = -(1 << (layout.bits_stored - 1)) if layout.signed else 0
    high = (1 << (layout.bits_stored - layout.signed)) - 1
    return found if found is not None and (found[0] < low or found[1] > high) else None


def _pixel_value(dataset: Dataset, keyword: str, layout: PixelFormat) -> int | None:
    """Read a value that shares the pixels' sign; writers often give it the other one."""
    values = numbers(dataset, keyword, 1)
    if values is None:
        return None
    whole = 1 << layout.bits_allocated
    value = int(values[0]) % whole
    return value - whole if layout.signed and value >= whole // 2 else value
