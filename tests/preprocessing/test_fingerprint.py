"""What is measured equals closed forms over the cases that were asked for, and only those."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.domain.case import Case, CaseSeries, Split
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.geometry import Geometry, Plane, Unit
from pipeline.domain.manifest import Manifest
from pipeline.domain.volume import Volume
from pipeline.errors import PlanError, RejectedInput
from pipeline.preprocessing.fingerprint import measure

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("a", "b"))


def make_case(number: int, split: Split = Split.TRAIN, **series: object) -> Case:
    base: dict[str, object] = {
        "series": f"S{number}",
        "reader": "nifti",
        "modality": "CT",
        "shape": (10, 12, 14),
        "spacing": (1.0, 1.0, 2.0),
        "unit": Unit.MM,
        "plane": Plane.AXIAL,
        "channels": 1,
        "digest": f"{number:064x}",
    }
    labels = {"lesion": "yes" if number % 3 == 0 else "no", "signs": ["", "a", "a|b", "?a|b"][number % 4]}
    if number == 7:
        labels = {}
    return Case(
        case=f"C{number}",
        patient=f"P{number // 2}",
        study=f"T{number}",
        series=(CaseSeries.model_validate(base | series),),
        labels=labels,
        split=split,
    )


def make_reader(values: Callable[[Case], np.ndarray]) -> Callable[[Case], Volume]:
    def read(case: Case) -> Volume:
        first = case.series[0]
        voxels = np.asarray(values(case), np.float32).reshape(first.channels, *first.shape)
        geometry = Geometry.from_matrix(first.shape, np.diag([*first.spacing, 1.0]), first.unit)
        valid = voxels[0] != -5000
        return Volume(voxels=voxels, geometry=geometry, modality=first.modality, valid=valid)

    return read


def random_values(case: Case) -> np.ndarray:
    rng = np.random.default_rng(int(case.case[1:]))
    return rng.normal(10 * int(case.case[1:]), 5, 10 * 12 * 14)


def manifest_of(*cases: Case) -> Manifest:
    return Manifest(findings=(LESION, SIGNS), cases=cases)


def test_pooled_statistics_equal_numpy_over_all_training_voxels() -> None:
    cases = [make_case(n) for n in range(8)] + [make_case(n, Split.TEST) for n in range(100, 104)]
    found = measure(manifest_of(*cases), Split.TRAIN, make_reader(random_values))
    pooled = np.concatenate([random_values(case).astype(np.float32) for case in cases[:8]]).astype(np.float64)
    assert found.intensities.mean == pytest.approx(pooled.mean(), rel=1e-9)
    assert found.intensities.std == pytest.approx(pooled.std(), rel=1e-9)
    assert (found.intensities.minimum, found.intensities.maximum) == (pooled.min(), pooled.max())
    expected = np.percentile(pooled, [0.5, 50, 99.5])
    measured = [found.intensities.p00_5, found.intensities.median, found.intensities.p99_5]
    np.testing.assert_allclose(measured, expected, rtol=1e-5)


def test_counts_cases_patients_and_labels_of_the_split_only() -> None:
    cases = [make_case(n) for n in range(8)] + [make_case(n, Split.TEST) for n in range(100, 104)]
    found = measure(manifest_of(*cases), Split.TRAIN, make_reader(random_values))
    assert (found.cases, found.patients, found.ndim, found.channels) == (8, 4, 3, 1)
    # lesion: 0, 3, 6 yes; 1, 2, 4, 5 no; 7 unknown. signs: 1, 2, 5, 6 hold a; 2, 3, 6 hold b (3's a is unknown)
    assert found.labels == {"lesion": {"no": 4, "yes": 3}, "signs": {"a": 4, "b": 3}}


def test_only_the_capped_sample_is_read_and_it_is_always_the_same() -> None:
    seen: list[list[str]] = []
    for order in (1, -1):
        names: list[str] = []

        def values(case: Case, names: list[str] = names) -> np.ndarray:
            names.append(case.case)
            return random_values(case)

        measure(
            manifest_of(*[make_case(n) for n in range(20)][::order]), Split.TRAIN, make_reader(values), sampled_cases=5
        )
        seen.append(names)
    assert len(seen[0]) == 5 and seen[0] == seen[1]


def test_padding_and_air_stay_out_of_ct_statistics() -> None:
    def values(case: Case) -> np.ndarray:
        voxels = np.full(10 * 12 * 14, 40.0)
        voxels[:300], voxels[300:900], voxels[900:1000] = -5000.0, -1000.0, 60.0
        return voxels

    found = measure(manifest_of(make_case(1)), Split.TRAIN, make_reader(values))
    assert (found.intensities.minimum, found.intensities.maximum) == (40.0, 60.0)
    mr = measure(manifest_of(make_case(1, modality="MR")), Split.TRAIN, make_reader(values))
    assert mr.intensities.minimum == -1000.0


def test_geometry_is_in_patient_axes_whatever_the_slice_plane() -> None:
    axial = make_case(1, shape=(10, 12, 14), spacing=(1.0, 2.0, 3.0))
    coronal = make_case(2, shape=(10, 14, 12), spacing=(1.0, 3.0, 2.0), plane=Plane.CORONAL)
    sagittal = make_case(3, shape=(12, 14, 10), spacing=(2.0, 3.0, 1.0), plane=Plane.SAGITTAL)
    found = measure(manifest_of(axial, coronal, sagittal), Split.TRAIN, make_reader(lambda _: np.arange(10 * 12 * 14)))
    assert [s.minimum for s in found.shape] == [s.maximum for s in found.shape] == [10, 12, 14]
    assert [s.minimum for s in found.spacing] == [s.maximum for s in found.spacing] == [1, 2, 3]
    assert [s.median for s in found.extent] == [10, 24, 42]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"modality": "MR"}, ["modalities", "CT: 2", "MR: 1"]),
        ({"shape": (10, 12, 1)}, ["dimensions", "3D: 2", "2D: 1"]),
        ({"channels": 3}, ["channels"]),
        ({"unit": Unit.PIXEL}, ["millimetres"]),
    ],
)
def test_mixtures_are_refused_with_counts_and_a_remedy(other: dict[str, object], words: list[str]) -> None:
    cases = [make_case(0), make_case(1), make_case(2, **other)]
    with pytest.raises(PlanError) as caught:
        measure(manifest_of(*cases), Split.TRAIN, make_reader(random_values))
    assert caught.value.remedy
    assert all(word in str(caught.value) for word in words)


def test_pictures_with_and_without_a_scale_are_measured_in_pixels() -> None:
    mixed = [make_case(0, shape=(8, 8, 1), spacing=(0.2, 0.2, 1.0)), make_case(1, shape=(8, 8, 1), unit=Unit.PIXEL)]
    found = measure(manifest_of(*mixed), Split.TRAIN, make_reader(lambda _: np.arange(64)))
    assert found.unit is Unit.PIXEL and found.extent[0].median == 8


def test_an_unreadable_scan_costs_only_itself_and_none_readable_stops() -> None:
    def refuse(case: Case) -> Volume:
        raise RejectedInput("CHANGED", "sha256 differs")

    def refuse_first(case: Case) -> Volume:
        return refuse(case) if case.case == "C0" else make_reader(random_values)(case)

    cases = manifest_of(make_case(0), make_case(1))
    assert measure(cases, Split.TRAIN, refuse_first).intensities.mean == pytest.approx(
        random_values(cases.cases[1]).mean()
    )
    with pytest.raises(PlanError):
        measure(cases, Split.TRAIN, refuse)
    with pytest.raises(PlanError):
        measure(cases, Split.VALIDATION, refuse)


def test_the_unit_of_pet_is_measured_and_not_mixed() -> None:
    note = ("SUV: values are g/ml by body weight, made from BQML",)
    cases = [make_case(n, modality="PT") for n in range(6)]
    in_suv = [case.model_copy(update={"notes": note}) for case in cases]
    reader = make_reader(random_values)
    assert not measure(manifest_of(*cases), Split.TRAIN, reader).suv
    assert measure(manifest_of(*in_suv), Split.TRAIN, reader).suv
    with pytest.raises(PlanError, match="standardized uptake"):
        measure(manifest_of(*cases[:3], *in_suv[3:]), Split.TRAIN, reader)
