"""What output units the values of a volume are in, where a reviewer should know: a note, and never a guess."""

from collections.abc import Sequence

from pipeline.readers.dicom.slices import MEANING, Slice
from pipeline.readers.dicom.values import shown

RESCALE_TYPES = frozenset({"OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"})
"""Defined terms of RescaleType (PS3.3 C.11.1.1.2)."""

PET_UNITS = frozenset(
    {
        *("CNTS", "NONE", "CM2", "PCNT", "CPS", "BQML", "MGMINML", "UMOLMINML", "MLMING", "MLG", "1CM", "UMOLML"),
        *("PROPCNTS", "PROPCPS", "MLMINML", "MLML", "GML", "STDDEV"),
    }
)
"""Defined terms of Units (PS3.3 C.8.9.1.1.3)."""

NO_UNIT_NOTE = "CT without RescaleSlope and RescaleIntercept: the values are as stored, and may be no Hounsfield units"

TABLE_NOTE = "a Modality LUT gave the values"


def table_notes(rescale: Sequence[str]) -> tuple[str, ...]:
    """Note where a table turned stored values into output units: many viewers and converters leave it out."""
    return (TABLE_NOTE,) if "ModalityLUTSequence" in rescale else ()


def unit_notes(one: Slice, modality: str) -> tuple[str, ...]:
    """Note where CT is not said to be in Hounsfield units, or PET not in Bq/ml.

    Parameters
    ----------
    one : Slice
        Any of a volume, whose slices all say the same.
    """
    said = dict(zip(MEANING, one.meaning, strict=False))
    if modality == "CT":
        kind = said.get("RescaleType", "")
        if not one.rescale:
            return (NO_UNIT_NOTE,)
        return (f"the values are no Hounsfield units: RescaleType is {shown(kind, RESCALE_TYPES)}",) * (
            kind not in ("", "HU")
        )
    if modality == "PT" and one.meaning:
        units = said.get("Units", "")
        return (f"the values are not in Bq/ml: Units is {shown(units, PET_UNITS)}",) * (units != "BQML")
    return ()
