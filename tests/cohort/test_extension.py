"""Patients and images of an older manifest keep their split, also where a patient comes back under another name."""

import pytest
from phantoms.evaluations import series

from pipeline.cohort.extension import settled_by
from pipeline.domain.case import Case, Split
from pipeline.domain.manifest import Manifest
from pipeline.errors import LeakError, ManifestError


def case(name: str, patient: str, split: Split | None = None, *, files: str = "", voxels: str = "") -> Case:
    image = series(name).model_copy(update={"digest": files or f"files of {name}", "voxels": voxels})
    return Case(case=name, patient=patient, study=f"T{name}", series=(image,), split=split)


OLD = (
    case("C1", "P1", Split.TRAIN, voxels="v1"),
    case("C2", "P2", Split.VALIDATION, voxels="v2"),
    case("C3", "P3", Split.TEST, voxels="v3"),
)
KNOWN = case("C1", "P1", voxels="v1")


def manifest(*cases: Case, leaks: int = 0) -> Manifest:
    return Manifest(cases=cases, acknowledged_leaks=leaks)


@pytest.mark.parametrize(
    "again",
    [
        case("D3", "Q3", voxels="v3"),
        case("D3", "Q3", files="files of C3"),
        case("D3", "Q3", files="files of C3", voxels="another decoder"),
    ],
)
def test_a_patient_with_another_name_inherits_the_split_of_its_image(again: Case) -> None:
    kept, notes = settled_by(manifest(*OLD), [KNOWN, again, case("D9", "P9")])
    assert (kept["P1"], kept["Q3"]) == (Split.TRAIN, Split.TEST) and "P9" not in kept
    assert notes == (
        "1 of 3 patients keep the split of the older manifest.",
        "1 patients have another name than there, and keep the split of their images.",
    )


def test_no_image_of_training_becomes_a_test_image() -> None:
    renamed = [case(f"D{n}", f"Q{n}", voxels=f"v{n}") for n in (1, 2, 3)]
    kept, _ = settled_by(manifest(*OLD, case("C4", "P4", Split.TEST)), [case("C4", "P4"), *renamed])
    assert [kept[f"Q{n}"] for n in (1, 2, 3)] == [Split.TRAIN, Split.VALIDATION, Split.TEST]


@pytest.mark.parametrize(
    "torn",
    [
        [case("D1", "Q1", voxels="v1"), case("D3", "Q1", voxels="v3")],
        [case("D3", "P1", voxels="v3")],
        [case("D3", "P1", files="files of C3")],
    ],
)
def test_images_of_two_splits_under_one_patient_stop(torn: list[Case]) -> None:
    with pytest.raises(LeakError, match=rf"images of several splits of the older manifest: {torn[0].patient}\."):
        settled_by(manifest(*OLD), [KNOWN, *torn])


def test_a_given_split_may_not_move_a_renamed_patient() -> None:
    with pytest.raises(LeakError, match="another split than in the older manifest: Q3"):
        settled_by(manifest(*OLD), [KNOWN, case("D3", "Q3", Split.TRAIN, voxels="v3")])


def test_an_acknowledged_leak_of_the_older_manifest_stops_nobody() -> None:
    twice = [case("C1", "P1", Split.TRAIN, voxels="v"), case("C2", "P2", Split.TEST, voxels="v")]
    again = [case("C1", "P1", voxels="v"), case("C2", "P2", voxels="v"), case("D1", "Q1", voxels="v")]
    kept, _ = settled_by(manifest(*twice, leaks=1), again)
    assert kept == {"P1": Split.TRAIN, "P2": Split.TEST, "Q1": Split.TRAIN}


def test_nobody_known_by_name_is_another_key() -> None:
    with pytest.raises(ManifestError, match="another key"):
        settled_by(manifest(*OLD), [case("D1", "Q1", voxels="v1")])


def test_a_patient_that_is_known_by_another_id_keeps_its_split() -> None:
    cases = [case("D1", "Q1", voxels="new"), case("D3", "Q3"), case("D9", "Q9")]
    kept, notes = settled_by(manifest(*OLD), cases, {"Q1": ["P1"], "Q3": ["P3", "P8"], "Q9": ["P9"]})
    assert (kept["Q1"], kept["Q3"]) == (Split.TRAIN, Split.TEST) and "Q9" not in kept
    assert notes[1:] == ("2 patients have another name than there, and keep the split of their other ids.",)


def test_scans_whose_patients_are_all_renamed_are_of_the_same_key() -> None:
    kept, _ = settled_by(manifest(*OLD), [case("C1", "Q1", voxels="v1")], {"Q1": ["P1"]})
    assert kept["Q1"] is Split.TRAIN


@pytest.mark.parametrize("patient", ["Q1", "P1"])
def test_ids_of_two_splits_under_one_patient_stop(patient: str) -> None:
    with pytest.raises(LeakError, match=f"several splits of the older manifest: {patient}"):
        settled_by(manifest(*OLD), [KNOWN, case("D1", patient)], {patient: ["P1", "P3"]})
