"""Standardized uptake values, against the formula worked out by hand and with real clocks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantoms.dicom_series import AXIAL, decimals, expected_affine, make_items, make_voxels, write_series
from phantoms.readings import assert_refused, assert_right, read_folder
from pydicom.dataset import Dataset

from pipeline.cohort.digests import voxels_digest
from pipeline.domain.codes import Code
from pipeline.readers.options import ReadOptions

SHAPE = (6, 5, 4)
SLOPES = [0.5, 1.5, 2.5, 3.5]
STORED = make_voxels(SHAPE)
ACTIVITY = STORED * np.array(SLOPES)
SUV = ReadOptions(suv=True)
WEIGHT, DOSE, HALF_LIFE = 70.0, 370e6, 6586.2
HOUR = 0.5 ** (3600 / HALF_LIFE)
"""What is left of a dose of fluorine 18 after an hour."""

Tell = Callable[[Dataset], None]


def injection(**changes: Any) -> Any:
    told = {
        "RadionuclideTotalDose": decimals([DOSE])[0],
        "RadionuclideHalfLife": decimals([HALF_LIFE])[0],
        "RadiopharmaceuticalStartTime": "090000.000000",
    }
    return make_items(**{keyword: value for keyword, value in (told | changes).items() if value is not None})


def tell_all(dataset: Dataset) -> None:
    dataset.Units = "BQML"
    dataset.CorrectedImage = ["NORM", "DTIM", "ATTN", "SCAT", "DECAY"]
    dataset.DecayCorrection = "START"
    dataset.PatientWeight = str(WEIGHT)
    dataset.SeriesDate, dataset.SeriesTime = "20240131", "100000"
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20240131", "100000.00"
    dataset.RadiopharmaceuticalInformationSequence = injection()


def write_pet(folder: Path, tell: Tell = lambda dataset: None, only: int | None = None) -> None:
    """A series with a slope of its own in each slice; `tell` changes the headers of all slices, or of one."""

    def edit(dataset: Dataset, k: int) -> None:
        tell_all(dataset)
        dataset.AcquisitionTime = f"100{k}00.00"
        if only is None or k == only:
            tell(dataset)

    write_series(folder, STORED, modality="PT", slope=SLOPES, edit=edit)


def set_all(**values: Any) -> Tell:
    def tell(dataset: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)

    return tell


def inject(**changes: Any) -> Tell:
    return set_all(RadiopharmaceuticalInformationSequence=injection(**changes))


def philips(suv: str | None, activity: str | None) -> Tell:
    def tell(dataset: Dataset) -> None:
        dataset.Units = "CNTS"
        dataset.add_new(0x70530010, "LO", "Philips PET Private Group")
        if suv:
            dataset.add_new(0x70531000, "DS", suv)
        if activity:
            dataset.add_new(0x70531009, "DS", activity)

    return tell


def ge(dataset: Dataset) -> None:
    """The series was made from the images the day after; the scanner kept the time of the scan."""
    dataset.SeriesDate, dataset.SeriesTime = "20240201", "083000"
    dataset.add_new(0x00090010, "LO", "GEMS_PETD_01")
    dataset.add_new(0x0009100D, "DT", "20240131094500.00")


def over_midnight(dataset: Dataset) -> None:
    dataset.SeriesTime = dataset.AcquisitionTime = "002000"
    dataset.RadiopharmaceuticalInformationSequence = injection(RadiopharmaceuticalStartTime="232000")


def in_utc(at: str, zone: str | None, time: str | None = None) -> Tell:
    """An injection whose DT has an offset from UTC, of a scan at 10:00 by the clock of `zone`."""

    def tell(dataset: Dataset) -> None:
        told = injection(RadiopharmaceuticalStartDateTime=at, RadiopharmaceuticalStartTime=time)
        dataset.RadiopharmaceuticalInformationSequence = told
        if zone is not None:
            dataset.TimezoneOffsetFromUTC = zone

    return tell


def after(hours: float) -> float:
    return WEIGHT * 1000 / (DOSE * HOUR**hours)


@pytest.mark.parametrize(
    ("tell", "factor"),
    [
        pytest.param(set_all(), after(1), id="Bq/ml"),
        pytest.param(set_all(DecayCorrection="ADMIN"), after(0), id="decay corrected to the injection"),
        pytest.param(set_all(Units="GML"), 1.0, id="SUV already"),
        pytest.param(set_all(Units="GML", SUVType="BW"), 1.0, id="SUV by body weight already"),
        pytest.param(philips("0.000625", None), 0.000625, id="Philips, to SUV"),
        pytest.param(philips(None, "1.75"), 1.75 * after(1), id="Philips, to activity"),
        pytest.param(philips("0.000625", "1.75"), 0.000625, id="Philips, both"),
        pytest.param(inject(RadiopharmaceuticalStartDateTime="20240131083000"), after(1.5), id="with a date"),
        pytest.param(
            inject(RadiopharmaceuticalStartDateTime="20240130220000.5", RadiopharmaceuticalStartTime="220000"),
            after(12 - 0.5 / 3600),
            id="the day before",
        ),
        pytest.param(over_midnight, after(1), id="over midnight by the clock"),
        pytest.param(set_all(SeriesDate="20240201"), after(1), id="a series made later"),
        pytest.param(ge, after(0.75), id="GE, a series made later"),
        pytest.param(in_utc("20240131070000.00+0000", "+0200"), after(1), id="in UTC, east of it"),
        pytest.param(in_utc("20240131140000.00+0000", "-0500"), after(1), id="in UTC, west of it"),
        pytest.param(in_utc("20240131040000-0530", "+0030"), after(0), id="in another zone"),
        pytest.param(in_utc("20240131233000+1400", "+0000"), after(0.5), id="the day before, in UTC"),
        pytest.param(in_utc("20240131090000+0200", "+0200"), after(1), id="in the zone of the scanner"),
        pytest.param(in_utc("20240131090000", "+0200"), after(1), id="without an offset of its own"),
        pytest.param(in_utc("20240131090000", "Europe"), after(1), id="no offset that a zone would move"),
        pytest.param(in_utc("20240131090000+0200", None, "090000.0"), after(1), id="a TM tells that it is local"),
        pytest.param(set_all(SeriesTime="095500"), after(55 / 60), id="a series begun before its images"),
    ],
)
def test_suv_is_what_the_formula_gives(tmp_path: Path, tell: Tell, factor: float) -> None:
    write_pet(tmp_path, tell)
    volume = read_folder(tmp_path, SUV).volume
    assert_right(volume, (ACTIVITY * factor, expected_affine(AXIAL)), rtol=1e-6)
    assert [note for note in volume.notes if note.startswith("SUV")] == [
        f"SUV: values are g/ml by body weight, made from {_units(tell)}"
    ]


def _units(tell: Tell) -> str:
    dataset = Dataset()
    tell_all(dataset)
    tell(dataset)
    return str(dataset.Units)


@pytest.mark.parametrize(
    ("tell", "named"),
    [
        (set_all(Units=None), "Units"),
        (set_all(Units="PROPCPS"), "Units"),
        (set_all(Units="GML", SUVType="LBM"), "LBM"),
        (set_all(CorrectedImage=None), "ATTN and DECAY"),
        (set_all(CorrectedImage=["DECAY", "SCAT"]), "ATTN"),
        (set_all(DecayCorrection=None), "DecayCorrection"),
        (set_all(DecayCorrection="NONE"), "DecayCorrection"),
        (set_all(PatientWeight=None), "PatientWeight"),
        (set_all(PatientWeight="0"), "PatientWeight"),
        (set_all(PatientWeight="70000"), "PatientWeight"),
        (set_all(RadiopharmaceuticalInformationSequence=None), "0 injections"),
        (set_all(RadiopharmaceuticalInformationSequence=[*injection(), *injection()]), "2 injections"),
        (inject(RadionuclideTotalDose=None), "RadionuclideTotalDose"),
        (inject(RadionuclideTotalDose="370"), "RadionuclideTotalDose"),
        (inject(RadionuclideHalfLife=None), "RadionuclideHalfLife"),
        (inject(RadiopharmaceuticalStartTime=None), "RadiopharmaceuticalStartTime"),
        (inject(RadiopharmaceuticalStartTime="9 o'clock"), "RadiopharmaceuticalStartTime"),
        (inject(RadiopharmaceuticalStartTime="100500"), "later than the scan"),
        (inject(RadiopharmaceuticalStartDateTime="20240301090000"), "later than the scan"),
        (inject(RadiopharmaceuticalStartDateTime="20230131090000"), "half-lives"),
        (inject(RadiopharmaceuticalStartDateTime="20240130090000"), "half-lives"),
        (in_utc("20240131070000+0000", None), "TimezoneOffsetFromUTC"),
        (in_utc("20240131070000+0000", None, "090000"), "TimezoneOffsetFromUTC"),
        (in_utc("20240131070000+0000", "0200"), "malformed"),
        (in_utc("20240131070000+0000", "-0000"), "malformed"),
        (in_utc("20240131070000+0000", "+1500"), "malformed"),
        (in_utc("20240131070000+00", "+0200"), "malformed"),
        (in_utc("20240131083000+0000", "+0200"), "later than the scan"),
        (set_all(AcquisitionTime=None), "AcquisitionTime"),
        (philips(None, None), "Units"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_missing_or_cannot_be_meant_is_named(tmp_path: Path, tell: Tell, named: str) -> None:
    write_pet(tmp_path, tell)
    reading = read_folder(tmp_path, SUV)
    assert_refused(reading, Code.NO_SUV)
    assert named in reading.messages[0]


@pytest.mark.parametrize("tell", [set_all(PatientWeight="71"), inject(RadionuclideTotalDose="360000000")])
def test_images_that_differ_in_what_the_formula_takes(tmp_path: Path, tell: Tell) -> None:
    write_pet(tmp_path, tell, only=2)
    reading = read_folder(tmp_path, SUV)
    assert_refused(reading, Code.NO_SUV)
    assert "differ" in reading.messages[0]


def test_nothing_is_turned_unless_asked_for_and_nothing_but_pet(tmp_path: Path) -> None:
    write_pet(tmp_path / "pet", set_all(PatientWeight=None))
    volume = read_folder(tmp_path / "pet").volume
    assert_right(volume, (ACTIVITY, expected_affine(AXIAL)), rtol=1e-6)
    assert not volume.notes
    write_series(tmp_path / "ct", STORED)
    volume = read_folder(tmp_path / "ct", SUV).volume
    assert_right(volume, (STORED, expected_affine(AXIAL)))
    assert not volume.notes


def test_the_digest_of_the_voxels_knows_the_unit(tmp_path: Path) -> None:
    write_pet(tmp_path)
    with_suv, without = (voxels_digest(read_folder(tmp_path, options).volume) for options in (SUV, ReadOptions()))
    assert with_suv != without
