"""What is far out is found and named; what agrees is not."""

import numpy as np
import pytest
from phantoms.evaluations import LESION, series

from pipeline.cohort.outliers import FAR, FEWEST, Levels, levels_of, outliers
from pipeline.domain.case import Case, Split
from pipeline.domain.geometry import Geometry
from pipeline.domain.manifest import Manifest
from pipeline.domain.volume import Volume

COUNT = 20
ODD = 7


def manifest(count: int = COUNT, **odd: object) -> Manifest:
    """Cases of one kind, of which number :data:`ODD` is another in what `odd` says."""
    cases = []
    for number in range(count):
        alike = {"shape": (64, 64, 30 + number % 3), "spacing": (0.7, 0.7, 2.0)}
        scan = series(str(number)).model_copy(update=alike | (odd if number == ODD else {}))
        names = {"case": f"C{number}", "patient": f"P{number}", "study": f"T{number}"}
        cases.append(Case(**names, series=(scan,), labels={"lesion": "no"}, split=Split.TRAIN))
    return Manifest(findings=(LESION,), cases=tuple(cases))


def measures(found: Manifest, levels: dict[str, Levels] | None = None) -> list[tuple[str, str]]:
    return [(one.case, one.measure) for one in outliers(found, levels or {})]


def levels(**odd: Levels) -> dict[str, Levels]:
    return {f"S{number}": (-1000.0 + number, 800.0 + 3 * number) for number in range(COUNT)} | odd


def test_scans_that_agree_are_not_flagged() -> None:
    assert measures(manifest(), levels()) == []


@pytest.mark.parametrize(
    ("odd", "flagged"),
    [
        ({"spacing": (1.4, 1.4, 2.0)}, {"pixel spacing"}),
        ({"spacing": (0.7, 0.7, 8.0)}, {"slice distance", "extent along the slices"}),
        ({"shape": (64, 64, 6)}, {"slices", "extent along the slices"}),
        ({"shape": (512, 64, 31)}, {"columns"}),
        ({"shape": (64, 512, 31)}, {"rows"}),
    ],
)
def test_an_odd_spacing_matrix_or_extent_is_flagged(odd: dict[str, object], flagged: set[str]) -> None:
    assert set(measures(manifest(**odd))) == {(f"C{ODD}", measure) for measure in flagged}


def test_intensities_of_another_scale_are_flagged() -> None:
    found = measures(manifest(), levels(S7=(0.0, 1800.0)))
    assert set(found) == {("C7", "darkest 1%"), ("C7", "brightest 1%")}


def test_a_flag_says_how_far_and_from_what() -> None:
    (one,) = outliers(manifest(spacing=(1.4, 1.4, 2.0)), {})
    assert (one.value, one.median, one.unit, one.split, one.kind) == (1.4, 0.7, "mm", "train", "CT axial")
    assert one.deviations == pytest.approx(np.log(2) / 0.05) and one.deviations > FAR


def test_nothing_is_far_out_among_few_or_of_another_kind() -> None:
    assert measures(manifest(FEWEST - 1, spacing=(1.4, 1.4, 2.0))) == []
    assert measures(manifest(spacing=(1.4, 1.4, 2.0), modality="MR")) == []
    assert measures(manifest(), {"S7": (0.0, 2.0)}) == []


def test_levels_are_percentiles_of_the_valid_voxels() -> None:
    voxels = np.arange(4000, dtype=np.float32).reshape(1, 20, 20, 10)
    valid = voxels[0] < 2000
    geometry = Geometry(shape=(20, 20, 10), unit="mm", affine=np.diag([1.0, 1.0, 1.0, 1.0]).tolist())
    found = levels_of(Volume(voxels=voxels, geometry=geometry, modality="CT", valid=valid))
    assert found == pytest.approx(tuple(np.percentile(np.arange(2000), [1, 99])))
