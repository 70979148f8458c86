"""Pixel data to float32: decoded, freed of what lies above BitsStored, and rescaled (PS3.3 C.7.6.3, C.11.1).

MONOCHROME1 is turned over, so that larger is brighter, in every image whose values have no unit. Values with a unit
(HU, Bq/ml) say nothing about brightness; such an image that claims MONOCHROME1 is refused.
"""

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID

from pipeline.domain.codes import Code
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.content import PARSE_ERRORS
from pipeline.readers.dicom.pixel_format import PixelFormat
from pipeline.readers.dicom.values import item, number, numbers

WITH_UNIT = frozenset({"CT", "PT"})

JPEG_LOSSLESS = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})

Pixels = NDArray[np.integer]


def stored_frames(dataset: Dataset, layout: PixelFormat, frames: Sequence[int]) -> Iterator[Pixels]:
    """Decode frames in the order asked for: integers, shape (rows, columns) or (rows, columns, 3) in RGB.

    Raises
    ------
    RejectedInput
        NO_CODEC, CORRUPT, or BAD_PIXELS where the decoded size is not that of the header.
    """
    _check_codec(UID(str(dataset.file_meta.TransferSyntaxUID)))
    wanted = (layout.rows, layout.columns, 3) if layout.is_colour else (layout.rows, layout.columns)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # excess padding and the like; what matters is checked here
            for frame in iter_pixels(dataset, indices=list(frames), raw=not layout.is_colour):
                if frame.shape != wanted or frame.dtype.kind not in "iu":
                    raise RejectedInput(Code.BAD_PIXELS, f"decoded to {frame.shape} {frame.dtype} instead of {wanted}")
                yield frame if layout.is_colour else significant(frame, layout)
    except PARSE_ERRORS as error:
        if isinstance(error, RejectedInput):
            raise
        raise RejectedInput(Code.CORRUPT, f"the pixels cannot be decoded ({type(error).__name__})") from error
    except RuntimeError as error:
        raise RejectedInput(Code.CORRUPT, "the pixels cannot be decoded: the decoder refuses them") from error


def significant(stored: Pixels, layout: PixelFormat) -> Pixels:
    """Keep the bits that hold the value, and extend the sign; overlays and rubbish may lie in the others."""
    shift = layout.high_bit + 1 - layout.bits_stored
    spare = 8 * stored.dtype.itemsize - layout.bits_stored
    unsigned = stored.view(f"u{stored.dtype.itemsize}")
    if shift:
        unsigned = unsigned >> shift
    if spare <= 0:
        return unsigned.view(f"i{stored.dtype.itemsize}") if layout.signed else unsigned
    lifted = np.left_shift(unsigned, spare)
    kind = "i" if layout.signed else "u"
    return np.asarray(np.right_shift(lifted.view(f"{kind}{stored.dtype.itemsize}"), spare))


def rescaled(stored: Pixels, rescale: Dataset, layout: PixelFormat, modality: str) -> NDArray[np.float32]:
    """Turn stored values into output units.

    Parameters
    ----------
    rescale : Dataset
        What holds RescaleSlope and RescaleIntercept, or the Modality LUT: the image, or the frame's functional group.

    Raises
    ------
    RejectedInput
        BAD_VALUE; NOT_SUPPORTED for MONOCHROME1 with values that have a unit.
    """
    if layout.photometric == "MONOCHROME1":
        if modality in WITH_UNIT:
            raise RejectedInput(Code.NOT_SUPPORTED, f"MONOCHROME1 in {modality}, whose values have a unit")
        stored = turned_over(stored, layout)
    if item(rescale, "ModalityLUTSequence") is not None:
        return _looked_up(stored, rescale)
    slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
    if slope == 0:
        raise RejectedInput(Code.BAD_VALUE, "RescaleSlope is 0")
    values = stored.astype(np.float64) * (1.0 if slope is None else slope) + (intercept or 0.0)
    return values.astype(np.float32)


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
    value = _pixel_value(dataset, "PixelPaddingValue", layout)
    if value is None:
        return None
    limit = _pixel_value(dataset, "PixelPaddingRangeLimit", layout)
    low, high = sorted((value, value if limit is None else limit))
    mask = (stored >= low) & (stored <= high)
    return mask if mask.any() else None


def _pixel_value(dataset: Dataset, keyword: str, layout: PixelFormat) -> int | None:
    """Read a value that shares the pixels' sign; writers often give it the other one."""
    values = numbers(dataset, keyword, 1)
    if values is None:
        return None
    whole = 1 << layout.bits_allocated
    value = int(values[0]) % whole
    return value - whole if layout.signed and value >= whole // 2 else value


def _looked_up(stored: Pixels, rescale: Dataset) -> NDArray[np.float32]:
    try:
        return np.asarray(apply_modality_lut(stored, rescale), dtype=np.float32)
    except (*PARSE_ERRORS, RuntimeError) as error:
        raise RejectedInput(Code.BAD_VALUE, "the Modality LUT is malformed") from error


def _check_codec(syntax: UID) -> None:
    """Refuse pixels that no installed package decodes."""
    if not syntax.is_encapsulated:
        return
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise RejectedInput(Code.NO_CODEC, f"no decoder is known for {syntax.name}") from error
    if decoder.is_available:
        return
    needed = "; ".join(decoder.missing_dependencies) or "none is known"
    raise RejectedInput(Code.NO_CODEC, f"{syntax.name} needs a decoder that is not installed ({needed})")
