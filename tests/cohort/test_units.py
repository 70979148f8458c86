import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.cohort.units import Units, cases_of
from pipeline.domain.codes import EXPLANATIONS, SKIPS, Code
from pipeline.domain.selection import Selection
from pipeline.domain.series import Discovery, Identity, Series, SourceFile

PLACE = {"plane": "axial", "spacing": "0.7x0.7x5", "slices": "40"}


def series(
    key: str, study: str = "1.2", *, modality: str = "CT", patient: str = "PAT", description: str = "", **known: str
) -> Series:
    identity = Identity(patient_id=patient, study_uid=study, series_uid=key)
    return Series("dicom", key, (), modality, 0, description, identity, PLACE | known)


def breast(key: str, side: str, view: str = "MLO", **more: str) -> Series:
    return series(key, modality="MG", laterality=side, view=view, **more)


def units(*found: Series, **rules: object) -> Units:
    discovery = Discovery(Path("/scans"), found, ())
    done = cases_of(discovery, Selection.from_mapping(rules))
    chosen = [one.key for candidate in done.candidates for one in candidate.chosen]
    assert sorted([*chosen, *(refusal.series.key for refusal in done.refusals)]) == sorted(one.key for one in found)
    return done


def chosen(done: Units) -> dict[str, list[str]]:
    return {candidate.unit_key: [one.key for one in candidate.chosen] for candidate in done.candidates}


def refused(done: Units) -> dict[str, Code]:
    return {refusal.series.key: refusal.code for refusal in done.refusals}


def test_a_study_of_one_series_is_a_case() -> None:
    done = units(series("b", "2"), series("a", "1"))
    assert chosen(done) == {"1": ["a"], "2": ["b"]} and list(chosen(done)) == ["1", "2"]
    assert done.candidates[0].identity.series_uid == "a" and done.candidates[0].laterality == ""


def test_a_file_without_identity_is_a_study_of_its_own() -> None:
    files = [Series("nifti", name, (), "MR") for name in ("b/1.nii", "a/1.nii")]
    assert chosen(units(*files)) == {"a/1.nii": ["a/1.nii"], "b/1.nii": ["b/1.nii"]}


def test_several_series_of_a_study_are_refused_and_told_apart_without_their_descriptions() -> None:
    done = units(
        series("a", description="MUELLER HANS liver"),
        series("b", spacing="0.7x0.7x1", slices="200"),
        series("c", spacing="0.7x0.7x1", slices="200"),
        series("d", "9"),
    )
    assert chosen(done) == {"9": ["d"]}
    assert refused(done) == dict.fromkeys("abc", Code.AMBIGUOUS_SERIES)
    message = done.refusals[0].message
    assert message == (
        "3 series are left of this study: 2 x (CT, axial, spacing 0.7x0.7x1, 200 slices); "
        "CT, axial, spacing 0.7x0.7x5, 40 slices"
    )


def test_a_header_cannot_put_free_text_into_the_message() -> None:
    hostile = breast("a", "L", view="see Mr. <Müller>"), breast("b", "L", view="CC")
    message = units(*hostile).refusals[0].message
    assert "ller" not in message and "MG, axial, CC, spacing" in message


@pytest.mark.parametrize(
    ("planes", "hint"),
    [
        (
            ("axial", ""),
            "; one of them lies in no plane of the patient, as captures of a screen do: the rule plane=axial",
        ),
        (
            ("axial", "", ""),
            "; 2 of them lie in no plane of the patient, as captures of a screen do: the rule plane=axial",
        ),
        (("axial", "coronal", ""), "captures of a screen do: the rule plane drops such series"),
        (("axial", "coronal"), ""),
        (("", ""), ""),
    ],
)
def test_the_rule_that_leaves_out_a_capture_is_named(planes: tuple[str, ...], hint: str) -> None:
    message = units(*(series(str(n), plane=plane) for n, plane in enumerate(planes))).refusals[0].message
    assert hint in message and ("captures" in message) == bool(hint)


def test_a_long_list_is_cut() -> None:
    message = units(*(series(f"{n:02d}", slices=str(n)) for n in range(20))).refusals[0].message
    assert message.count("slices") == 8 and message.endswith("12 more kinds")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"modality": ["CT"]}, "thick thin scout"),
        ({"modality": ["CT", "MR"], "plane": "coronal"}, "scout"),
        ({"slice_thickness": {"max": 2}}, "thin"),
        ({"slice_thickness": {"min": 3, "max": 5}}, "thick scout mr"),
        ({"description": "(?i)portal"}, "thick thin"),
        ({"description": "^Portal"}, "thick"),
        ({"attributes": {"kernel": "B[23].*"}}, "thick"),
        ({"attributes": {"kernel": "B"}}, ""),
        ({"attributes": {"kernel": "B.*|"}}, "thick thin scout mr"),
        ({"kernel": "B[23].*"}, "thick"),
        ({"kernel": "B"}, ""),
        ({"contrast": "with"}, "thick"),
        ({"contrast": "without"}, "thin scout mr"),
        ({"image_type": ["PRIMARY", "ORIGINAL"]}, "thick mr"),
        ({"image_type": ["ORIG"]}, ""),
    ],
)
def test_each_rule_admits_what_it_says(rules: dict[str, object], expected: str) -> None:
    found = [
        series(
            "thick", "1", description="Portal 5mm", kernel="B30f", contrast="Iomeprol", image_type="ORIGINAL\\PRIMARY"
        ),
        series("thin", "2", description="thin portal", kernel="B70s", slice_thickness="1.25", contrast="None"),
        series("scout", "3", plane="coronal", image_type="DERIVED\\PRIMARY"),
        series("mr", "4", modality="MR", slice_thickness="4", image_type="ORIGINAL\\PRIMARY\\M"),
    ]
    done = units(*found, **rules)
    assert {one.chosen[0].key for one in done.candidates} == set(expected.split())
    assert set(refused(done).values()) <= {Code.NOT_SELECTED}


@pytest.mark.parametrize(("passes", "words"), [
    ("without", "|-|N/A|NA|NIL|0|0 ml|None|NO|n|Ohne|ohne KM|PLAIN|nativ|not given|NON CONTRAST|NON-CONTRAST"),
    ("without", "NO IV CONTRAST|No I.V. contrast|W/O CONTRAST|UNENHANCED|sans contraste|sin contraste|PRE CONTRAST"),
    ("with", "Iomeprol|OMNIPAQUE 350|Ultravist N|Gadavist 0.1 mmol/kg|NON-IONIC|APPLIED|YES|CE|IV CONTRAST|KM"),
    ("with", "100ml Imeron i.v. + oral|IV/ORAL"),
    ("", "Oral|ORAL CONTRAST|Rectal|NO ORAL CONTRAST|?|unknown|NOT SPECIFIED|PRE AND POST"),
])  # fmt: skip
def test_contrast_is_told_by_the_words_of_the_scanner_room(passes: str, words: str) -> None:
    for word in words.split("|"):
        admitted = [rule for rule in ("with", "without") if chosen(units(series("a", contrast=word), contrast=rule))]
        assert admitted == ([passes] if passes else []), word


def test_files_are_chosen_by_their_path() -> None:
    names = ["sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz"]
    files = [Series("nifti", name, (SourceFile(Path("/scans") / name, name, 1),), "MR") for name in names]
    assert chosen(units(*files, path=r"_T1w\.nii")) == {names[0]: [names[0]]}
    assert chosen(units(*files, path="^anat")) == {} and chosen(units(series("no files"), path="T1w")) == {}


def test_the_rules_choose_within_a_study() -> None:
    done = units(series("ct"), series("pet", modality="PT"), modality=["PT"])
    assert chosen(done) == {"1.2": ["pet"]} and refused(done) == {"ct": Code.NOT_SELECTED}


def test_most_slices_takes_the_largest_then_the_thinnest_then_the_first() -> None:
    found = [
        series("large", slices="300", spacing="1x1x2"),
        series("large and thin", slices="300", spacing="1x1x1"),
        series("also", slices="300", spacing="1x1x1"),
        series("small", slices="9", spacing="1x1x0.5"),
        series("unknown", slices="", spacing=""),
    ]
    done = units(*found, several="most_slices")
    assert chosen(done) == {"1.2": ["also"]}
    assert set(refused(done).values()) == {Code.NOT_SELECTED}
    assert chosen(units(*found[:2], several="most_slices")) == {"1.2": ["large and thin"]}


def test_a_series_may_be_a_case() -> None:
    assert chosen(units(series("a"), series("b"), unit="series")) == {"a": ["a"], "b": ["b"]}


def test_each_breast_is_a_case() -> None:
    done = units(breast("l", "L"), breast("r", "R"), breast("r2", "R", study="9"))
    assert chosen(done) == {"1.2|L": ["l"], "1.2|R": ["r"], "9|R": ["r2"]}
    assert [candidate.laterality for candidate in done.candidates] == ["L", "R", "R"]


def test_several_views_of_a_breast_need_a_rule() -> None:
    views = [breast("a", "L", "CC"), breast("b", "L", "MLO"), breast("c", "R", "CC")]
    done = units(*views)
    assert chosen(done) == {"1.2|R": ["c"]} and refused(done) == dict.fromkeys("ab", Code.AMBIGUOUS_SERIES)
    done = units(*views, attributes={"view": "CC"})
    assert chosen(done) == {"1.2|L": ["a"], "1.2|R": ["c"]} and refused(done) == {"b": Code.NOT_SELECTED}


def test_a_breast_whose_side_is_not_known_is_no_side() -> None:
    done = units(breast("a", "L"), breast("b", ""))
    assert chosen(done) == {"1.2": ["b"], "1.2|L": ["a"]}


@pytest.mark.parametrize("several", ["refuse", "most_slices"])
def test_mammography_beside_another_modality_is_not_guessed(several: str) -> None:
    done = units(breast("a", "L"), series("us", modality="US"), several=several)
    assert refused(done) == {"a": Code.AMBIGUOUS_SERIES, "us": Code.AMBIGUOUS_SERIES}
    assert chosen(units(breast("a", "L"), series("us", modality="US"), modality=["MG"])) == {"1.2|L": ["a"]}


def test_a_study_that_names_two_patients_is_no_case() -> None:
    done = units(series("a"), series("b", patient="OTHER"), series("c", "9"), unit="series")
    assert refused(done) == {"a": Code.BAD_HEADER, "b": Code.BAD_HEADER} and chosen(done) == {"c": ["c"]}
    assert "OTHER" not in done.refusals[0].message


@given(st.randoms())
def test_the_order_of_discovery_does_not_matter(dice: random.Random) -> None:
    found = [series(f"{n}", f"{n // 2}", slices=str(n % 3)) for n in range(8)] + [breast("l", "L"), breast("r", "R")]
    shuffled = dice.sample(found, len(found))
    first, second = units(*found, several="most_slices"), units(*shuffled, several="most_slices")
    assert first.candidates == second.candidates
    assert set(refused(first)) == set(refused(second))


@pytest.mark.parametrize(
    ("other", "message"), [("OTHER", "name different patients"), ("", "PatientID is missing in some")]
)
def test_what_is_wrong_with_the_patients_of_a_study_is_said(other: str, message: str) -> None:
    done = units(series("a"), series("b", patient=other))
    assert all(message in one.message for one in done.refusals) and len(done.refusals) == 2


def test_the_codes_are_explained_and_of_the_right_kind() -> None:
    assert Code.NOT_SELECTED in SKIPS and Code.AMBIGUOUS_SERIES not in SKIPS
    assert "`select`" in EXPLANATIONS[Code.AMBIGUOUS_SERIES].remedy


@pytest.mark.parametrize(
    "rules",
    [
        {"description": "("},
        {"attributes": {"view": "["}},
        {"slice_thickness": {"min": 3, "max": 1}},
        {"plane": "oblique"},
        {"several": "first"},
    ],
)
def test_rules_that_make_no_sense_are_refused(rules: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Selection.model_validate(rules)


def test_a_modality_that_the_standard_does_not_know_is_refused_and_not_shown() -> None:
    done = units(series("a", "1", modality="DOE^JANE"), series("b", "2", modality="MR"), series("c", "3", modality=""))
    assert chosen(done) == {"2": ["b"], "3": ["c"]} and refused(done) == {"a": Code.BAD_VALUE}
    assert "DOE" not in done.refusals[0].message


def test_a_view_in_capitals_that_is_none_is_not_shown() -> None:
    message = units(breast("a", "L", view="DOE JANE"), breast("b", "L", view="cc")).refusals[0].message
    assert "DOE" not in message and "MG, axial, CC, spacing" in message
