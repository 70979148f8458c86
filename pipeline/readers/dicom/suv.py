"""Standardized uptake values by body weight, in g/ml: what `read.suv` asks for, and nothing else.

The vendor-neutral formula of the Quantitative Imaging Biomarkers Alliance (QIBA), Standardized Uptake Value: activity,
corrected for attenuation and decay, over the dose that was left at the time the decay was corrected to, over weight.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pipeline.domain.codes import Code
from pipeline.domain.terms import IN_SUV
from pipeline.errors import RejectedInput
from pipeline.readers.dicom.output_units import PET_UNITS
from pipeline.readers.dicom.values import items, number, private_value, shown, text

CORRECTIONS = frozenset({"ATTN", "DECAY"})
"""Values of CorrectedImage (PS3.3 C.8.9.1) without which values are no activity."""

REFERENCES, SUV_TYPES = frozenset({"NONE", "START", "ADMIN"}), frozenset({"BSA", "BW", "LBM", "LBMJANMA", "IBW"})
"""Defined terms of DecayCorrection and SUVType (PS3.3 C.8.9.1)."""

GE_SCAN_TIME = (("GEMS_PETD_01", 0x0009, 0x0D),)
PHILIPS_SUV = (("Philips PET Private Group", 0x7053, 0x00),)
PHILIPS_ACTIVITY = (("Philips PET Private Group", 0x7053, 0x09),)
"""Private elements; see the vendors' conformance statements. Philips: from counts to g/ml, and to Bq/ml."""

LIGHTEST_KG, HEAVIEST_KG = 0.005, 700.0
LEAST_BQ, MOST_BQ = 1e4, 1e12
"""What can be meant: beyond them the weight is in grams, or the dose in MBq."""

MOST_HALF_LIVES = 10
"""After ten half-lives a thousandth of the dose is left, too little for an image. In half-lives, not hours: zirconium
89 is scanned after a week, which is two of them, and copper 64 after three days, six. Where a day is more than ten (13
of fluorine 18, 21 of gallium 68), the limit finds a date of the injection that is a day off."""

OFFSET = re.compile(r"([+-])(\d\d)([0-5]\d)", re.ASCII)
"""Offset from UTC, &ZZXX: of a DT (PS3.5 6.2), and of TimezoneOffsetFromUTC (PS3.3 C.12.1)."""

EAST, WEST = timedelta(hours=14), timedelta(hours=-12)
"""Furthest offsets that PS3.5 6.2 allows."""

LONGEST_NIGHT = timedelta(hours=12)
"""An injection that the clock alone puts after the scan was the evening before, not nearly a day before."""


@dataclass(frozen=True, slots=True)
class Uptake:
    """What the header of one image says of the activity in it; 0 and empty where it says nothing."""

    units: str = ""
    kind: str = ""
    corrections: frozenset[str] = frozenset()
    reference: str = ""
    weight: float = 0.0
    dose: float = 0.0
    half_life: float = 0.0
    injected: str = ""
    injected_at: str = ""
    injections: int = 0
    zone: str = ""
    philips_suv: float = 0.0
    philips_activity: float = 0.0
    series_at: str = field(default="", compare=False)
    acquired_at: str = field(default="", compare=False)
    ge_scan_at: str = field(default="", compare=False)


def uptake_of(dataset: Dataset) -> Uptake:
    """Read what the SUV of an image rests on.

    Raises
    ------
    RejectedInput
        BAD_VALUE.
    """
    injections = items(dataset, "RadiopharmaceuticalInformationSequence")
    injection = injections[0] if injections else Dataset()
    return Uptake(
        units=text(dataset, "Units"),
        kind=text(dataset, "SUVType"),
        corrections=frozenset(text(dataset, "CorrectedImage").split("\\")),
        reference=text(dataset, "DecayCorrection"),
        weight=number(dataset, "PatientWeight") or 0.0,
        dose=number(injection, "RadionuclideTotalDose") or 0.0,
        half_life=number(injection, "RadionuclideHalfLife") or 0.0,
        injected=text(injection, "RadiopharmaceuticalStartDateTime"),
        injected_at=text(injection, "RadiopharmaceuticalStartTime"),
        injections=len(injections),
        zone=text(dataset, "TimezoneOffsetFromUTC"),
        philips_suv=_private_number(dataset, PHILIPS_SUV),
        philips_activity=_private_number(dataset, PHILIPS_ACTIVITY),
        series_at=text(dataset, "SeriesDate") + text(dataset, "SeriesTime"),
        acquired_at=text(dataset, "AcquisitionDate") + text(dataset, "AcquisitionTime"),
        ge_scan_at=_words(private_value(dataset, GE_SCAN_TIME)),
    )


def to_suv(voxels: NDArray[np.float32], images: Iterable[Uptake]) -> tuple[str, ...]:
    """Turn rescaled values of a series into SUV, in place; return notes for a reviewer.

    Raises
    ------
    RejectedInput
        NO_SUV, naming the attribute that is missing, or differs between the images, or cannot be meant.
    """
    found = list(images)
    first = found[0]
    for name in (one.name for one in fields(Uptake) if one.compare):
        if len({getattr(one, name) for one in found}) > 1:
            raise _refuse(f"the images of the series differ in their {name.replace('_', ' ')}")
    factor = _factor(first, found)
    voxels *= np.float32(factor)
    return (f"{IN_SUV}values are g/ml by body weight, made from {first.units}",)


def _factor(one: Uptake, images: list[Uptake]) -> float:
    """Return what turns rescaled values into g/ml."""
    if not one.corrections >= CORRECTIONS:
        missing = " and ".join(sorted(CORRECTIONS - one.corrections))
        raise _refuse(f"CorrectedImage does not hold {missing}")
    if one.reference not in ("START", "ADMIN"):
        raise _refuse(f"DecayCorrection is {shown(one.reference, REFERENCES)}, not START or ADMIN")
    if one.units == "GML":
        if one.kind not in ("", "BW"):
            raise _refuse(f"SUVType is {shown(one.kind, SUV_TYPES)}, not BW: by body weight")
        return 1.0
    if one.units == "CNTS" and one.philips_suv > 0:
        return one.philips_suv
    if one.units == "CNTS" and one.philips_activity > 0:
        return one.philips_activity * _per_dose(one, images)
    if one.units == "BQML":
        return _per_dose(one, images)
    raise _refuse(f"Units is {shown(one.units, PET_UNITS)}, from which there is no way to SUV")


def _per_dose(one: Uptake, images: list[Uptake]) -> float:
    """Weight in grams over the dose that was left at the time the decay was corrected to."""
    if one.injections != 1:
        raise _refuse(f"RadiopharmaceuticalInformationSequence tells of {one.injections} injections, not of one")
    if not LIGHTEST_KG <= one.weight <= HEAVIEST_KG:
        raise _refuse("PatientWeight is missing, or no weight in kg")
    if not LEAST_BQ <= one.dose <= MOST_BQ:
        raise _refuse("RadionuclideTotalDose is missing, or no dose in Bq")
    if one.half_life <= 0:
        raise _refuse("RadionuclideHalfLife is missing")
    seconds = 0.0 if one.reference == "ADMIN" else _decay_seconds(one, _scanned(images))
    if seconds > MOST_HALF_LIVES * one.half_life:
        raise _refuse(f"more than {MOST_HALF_LIVES} half-lives lie between the injection and the scan")
    return float(one.weight * 1000.0 / (one.dose * 2.0 ** (-seconds / one.half_life)))


def _scanned(images: list[Uptake]) -> datetime:
    """When the scan began: what decay was corrected to. The series, unless that was made later from the images."""
    acquired = [when for one in images if (when := _when(one.acquired_at, one))]
    if len(acquired) < len(images):
        raise _refuse("AcquisitionDate or AcquisitionTime is missing")
    series = [when for one in images if (when := _when(one.series_at, one))]
    if len(series) == len(images) and min(series) <= min(acquired):
        return min(series)
    scans = [when for one in images if (when := _when(one.ge_scan_at, one))]
    return min(scans) if scans else min(acquired)


def _decay_seconds(one: Uptake, scanned: datetime) -> float:
    if injected := _when(one.injected, one):
        waited = scanned - injected
    elif injected := _when(f"{scanned:%Y%m%d}{one.injected_at}" if one.injected_at else "", one):
        waited = scanned - injected
        if waited < timedelta(0) and waited + timedelta(days=1) <= LONGEST_NIGHT:
            waited += timedelta(days=1)
    else:
        raise _refuse("RadiopharmaceuticalStartTime and RadiopharmaceuticalStartDateTime are missing")
    if waited < timedelta(0):
        raise _refuse("the injection is later than the scan")
    return waited.total_seconds()


def _when(stamp: str, one: Uptake) -> datetime | None:
    """Time of a DT, or of DA and TM joined (PS3.5 6.2), by the clock of the scanner; None where it is not whole.

    A DT may bear an offset from UTC. All that bear none are by the clock that TimezoneOffsetFromUTC tells of.
    """
    clock, own = _parted(stamp)
    whole = _clock_time(clock)
    if whole is None or not own:
        return whole
    return whole - _offset(own) + _zone(one)


def _zone(one: Uptake) -> timedelta:
    """Offset from UTC of the scanner's clock.

    Where TimezoneOffsetFromUTC is missing, that of the injection's DT, if its TM tells the same time of day: a TM bears
    no offset, so that it is by the scanner's clock.
    """
    if one.zone:
        return _offset(one.zone)
    clock, own = _parted(one.injected)
    told = _clock_time(clock)
    if own and told is not None and told == _clock_time(clock[:8] + one.injected_at):
        return _offset(own)
    raise _refuse(
        "a time has an offset from UTC, and TimezoneOffsetFromUTC, which tells that of the others, is missing"
    )


def _offset(written: str) -> timedelta:
    found = OFFSET.fullmatch(written)
    sign = -1 if written.startswith("-") else 1
    offset = sign * timedelta(hours=int(found[2]), minutes=int(found[3])) if found else None
    if offset is None or written == "-0000" or not WEST <= offset <= EAST:
        raise _refuse("an offset from UTC, of a time or in TimezoneOffsetFromUTC, is malformed")
    return offset


def _parted(stamp: str) -> tuple[str, str]:
    """Part a time from its offset from UTC, which may be empty."""
    at = next((place for place, sign in enumerate(stamp) if sign in "+-"), len(stamp))
    return stamp[:at], stamp[at:].strip()


def _clock_time(clock: str) -> datetime | None:
    digits, _, fraction = clock.replace(":", "").partition(".")
    if len(digits) != len("YYYYMMDDhhmmss") or not digits.isdecimal():
        return None
    try:
        whole = datetime.strptime(digits, "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return whole + timedelta(seconds=float(f"0.{fraction}") if fraction.isdecimal() else 0.0)


def _private_number(dataset: Dataset, place: tuple[tuple[str, int, int], ...]) -> float:
    try:
        return float(_words(private_value(dataset, place)) or 0.0)
    except ValueError:
        return 0.0


def _words(value: object) -> str:
    """Text of a private element; exports that lost its value representation keep bytes."""
    found = value.decode("ascii", "replace") if isinstance(value, bytes) else str("" if value is None else value)
    return found.strip("\0 ")


def _refuse(message: str) -> RejectedInput:
    return RejectedInput(Code.NO_SUV, f"SUV was asked for: {message}")
