"""Which series of a study fills which channel, and what stops a study from being a case."""

from pathlib import Path

import pytest

from pipeline.cohort.units import Units, cases_of
from pipeline.domain.codes import Code
from pipeline.domain.selection import Selection
from pipeline.domain.series import Discovery, Identity, Series
from pipeline.errors import ConfigError

CHANNELS = [{"name": "T1", "description": "(?i)t1", "plane": "axial"}, {"name": "T2", "description": "(?i)t2"}]


def series(key: str, description: str, *, study: str = "1", modality: str = "MR", **known: str) -> Series:
    attributes = {"plane": "axial", "spacing": "1x1x3", "slices": "20", "frame_of_reference": "1.9"} | known
    return Series("dicom", key, (), modality, 0, description, Identity("P", study, key), attributes)


def units(*found: Series, **rules: object) -> Units:
    done = cases_of(Discovery(Path("/scans"), found, ()), Selection.from_mapping({"channels": CHANNELS} | rules))
    ended = [one.key for candidate in done.candidates for one in candidate.chosen]
    assert sorted([*ended, *(refusal.series.key for refusal in done.refusals)]) == sorted(one.key for one in found)
    return done


def slots(done: Units) -> list[tuple[str | None, ...]]:
    return [tuple(one.key if one else None for one in candidate.slots) for candidate in done.candidates]


def codes(done: Units) -> dict[str, Code]:
    return {refusal.series.key: refusal.code for refusal in done.refusals}


T1, T2 = series("a", "ax T1 se"), series("z", "T2 tse")


def test_channels_come_in_the_order_of_the_rules_not_of_the_folder() -> None:
    done = units(T2, series("loc", "scout"), T1)
    assert slots(done) == [("a", "z")] and codes(done) == {"loc": Code.NOT_SELECTED}
    turned = units(T1, T2, channels=CHANNELS[::-1])
    assert slots(turned) == [("z", "a")] and turned.candidates[0].chosen == (T2, T1)


def test_the_rules_of_select_hold_for_every_channel() -> None:
    ct = series("ct", "T1 like", modality="CT")
    assert slots(units(T1, T2, ct, modality=["MR"])) == [("a", "z")]


def test_a_study_without_a_series_for_a_channel_is_refused_or_has_an_empty_one() -> None:
    done = units(T1)
    assert slots(done) == [] and codes(done) == {"a": Code.MISSING_SERIES}
    assert done.refusals[0].message == "this study has no series for channel T2"
    done = units(T1, missing="empty")
    assert slots(done) == [("a", None)] and done.candidates[0].chosen == (T1,)
    done = units(T2, missing="empty")
    assert slots(done) == [] and codes(done) == {"z": Code.MISSING_SERIES}


def test_several_series_for_a_channel_are_not_chosen_by_guess() -> None:
    again = series("b", "AX T1 MUELLER", slices="40")
    done = units(T1, again, T2)
    assert slots(done) == [] and set(codes(done).values()) == {Code.AMBIGUOUS_SERIES}
    message = done.refusals[0].message
    assert message.startswith("2 series of this study are left for channel T1: MR, axial") and "MUELLER" not in message
    done = units(T1, again, T2, several="most_slices")
    assert slots(done) == [("b", "z")] and codes(done) == {"a": Code.NOT_SELECTED}


def test_a_series_that_two_channels_admit_is_ambiguous() -> None:
    both = series("b", "t1 and t2")
    done = units(both)
    assert codes(done) == {"b": Code.AMBIGUOUS_SERIES} and "T1, T2" in done.refusals[0].message


@pytest.mark.parametrize(
    "other",
    [
        series("z", "T2", frame_of_reference="2.9"),
        series("z", "T2", frame_of_reference=""),
        series("z", "T2", modality="CT"),
    ],
)
def test_series_without_common_coordinates_or_modality_are_not_laid_over_each_other(other: Series) -> None:
    done = units(T1, other)
    assert slots(done) == [] and set(codes(done).values()) == {Code.DOES_NOT_FIT}


@pytest.mark.parametrize(
    "rules",
    [
        {"channels": CHANNELS[:1]},
        {"channels": [CHANNELS[0], CHANNELS[0]]},
        {"channels": CHANNELS, "unit": "series"},
        {"channels": [CHANNELS[0], {"name": "a b"}]},
        {"channels": [CHANNELS[0], {"name": "x", "description": "("}]},
    ],
)
def test_channels_that_mean_nothing_are_refused(rules: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="channels"):
        Selection.from_mapping(rules)
