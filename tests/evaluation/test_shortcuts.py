"""A covariate that tells the finding is named with its AUROC; one that tells nothing comes out at a half."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.domain.case import Case, CaseSeries
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.geometry import Plane, Unit
from pipeline.domain.manifest import Manifest
from pipeline.domain.score import Shortcut
from pipeline.evaluation import shortcuts
from pipeline.evaluation.shortcuts import probe, warnings

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def same_numbers_in_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "RNG", np.random.default_rng(1))


def case(number: int, label: str | None, *, patient: str = "", spacing: float = 1.0, **covariates: str) -> Case:
    series = CaseSeries(
        series=f"S{number}",
        reader="dicom",
        modality="CT",
        shape=(8, 8, 8),
        spacing=(spacing, spacing, 2.0),
        unit=Unit.MM,
        plane=Plane.AXIAL,
        channels=1,
        digest=f"{number:064x}",
    )
    return Case(
        case=f"C{number}",
        patient=patient or f"P{number}",
        study=f"T{number}",
        series=(series,),
        labels={} if label is None else {"lesion": label},
        covariates=covariates,
    )


def probed(count: int, make: Callable[[int, str], Case], finding: Finding = LESION) -> dict[str, Shortcut]:
    labels = ["yes" if RNG.random() < 0.4 else "no" for _ in range(count)]
    manifest = Manifest(findings=(finding,), cases=tuple(make(number, label) for number, label in enumerate(labels)))
    return {one.covariate: one for one in probe(manifest)}


def value(found: Shortcut) -> tuple[float, float, float]:
    score = found.score
    assert score.value is not None
    assert score.low is not None
    assert score.high is not None
    return score.low, score.value, score.high


def test_a_vendor_of_the_sick_tells_all() -> None:
    found = probed(200, lambda n, label: case(n, label, vendor="ACME" if label == "yes" else "Other"))
    assert set(found) == {"vendor"}
    assert value(found["vendor"])[1] == 1.0
    (said,) = warnings(list(found.values()))
    assert said.startswith("vendor alone tells lesion (yes) with an AUROC of 1.00")


def test_a_vendor_that_is_often_that_of_the_sick_tells_as_much_as_the_closed_form_says() -> None:
    sick, well = 0.8, 0.3  # how often each group was scanned by ACME; AUROC = (1 + sick - well) / 2

    def make(number: int, label: str) -> Case:
        is_acme = RNG.random() < (sick if label == "yes" else well)
        return case(number, label, vendor="ACME" if is_acme else "Other")

    low, middle, high = value(probed(1500, make)["vendor"])
    assert low < (1 + sick - well) / 2 < high
    assert middle == pytest.approx((1 + sick - well) / 2, abs=0.03)


def test_what_tells_nothing_comes_out_at_a_half_and_is_not_warned_of() -> None:
    def make(number: int, label: str) -> Case:
        return case(
            number,
            label,
            spacing=float(RNG.choice([0.7, 0.8, 0.9])),
            site=str(RNG.integers(12)),
            vendor=str(RNG.integers(2)),
            age=str(RNG.integers(20, 90)),
        )

    found = probed(600, make)
    assert set(found) == {"vendor", "site", "spacing", "age"}
    for one in found.values():
        low, _, high = value(one)
        assert low <= 0.5 <= high
    assert not list(warnings(list(found.values())))


def test_a_vendor_that_is_balanced_by_design_comes_out_at_a_half_and_not_below() -> None:
    cases = (case(n, ("yes", "no")[n % 2], vendor=("ACME", "Other")[n // 2 % 2]) for n in range(96))
    (found,) = probe(Manifest(findings=(LESION,), cases=tuple(cases)))
    assert value(found) == (0.5, 0.5, 0.5)


def test_an_age_that_tells_at_both_ends_is_found() -> None:
    def make(number: int, label: str) -> Case:
        age = RNG.choice([RNG.integers(5, 20), RNG.integers(75, 90)]) if label == "yes" else RNG.integers(30, 60)
        return case(number, label, age=str(age))

    assert value(probed(300, make)["age"])[1] > 0.97


def test_a_spacing_that_the_sick_were_scanned_with_is_found() -> None:
    found = probed(
        300, lambda n, label: case(n, label, spacing=0.5 + (0.3 if label == "yes" else 0) + RNG.random() / 5)
    )
    assert value(found["spacing"])[1] > 0.97


def test_a_value_that_a_patient_has_alone_tells_nothing_of_others() -> None:
    cases = tuple(
        case(20 * number + scan, label, patient=f"P{number}", site=f"H{number}")
        for number, label in enumerate(["yes", "no"] * 6)
        for scan in range(20)
    )
    (found,) = probe(Manifest(findings=(LESION,), cases=cases))
    assert value(found)[1] == pytest.approx(0.5)


def test_missing_is_a_value_too_and_unknown_labels_are_left_out() -> None:
    cases = [case(n, "yes") for n in range(40)] + [case(n, "no", age="50") for n in range(40, 80)]
    cases += [case(n, None, age="50") for n in range(80, 160)]
    (found,) = probe(Manifest(findings=(LESION,), cases=tuple(cases)))
    assert (found.covariate, found.score.cases, value(found)[1]) == ("age", 80, 1.0)


def test_too_few_to_ask_is_said() -> None:
    cases = (case(0, "yes", vendor="A"), *(case(n, "no", vendor="B") for n in range(1, 9)))
    (found,) = probe(Manifest(findings=(LESION,), cases=cases))
    assert found.score.value is None
    assert "two patients with the finding" in found.score.note
    assert not list(warnings([found]))


@pytest.mark.parametrize("kind", [FindingKind.MULTICLASS, FindingKind.MULTILABEL])
def test_each_class_is_a_question(kind: FindingKind) -> None:
    finding = Finding(name="lesion", kind=kind, classes=("none", "cyst", "tumour"))
    names = [finding.classes[n % 3] for n in range(150)]
    cases = tuple(case(n, name, vendor="ACME" if name == "cyst" else "Other") for n, name in enumerate(names))
    found = {one.question: value(one)[1] for one in probe(Manifest(findings=(finding,), cases=cases))}
    assert found["cyst"] == 1.0
    assert found["none"] == pytest.approx(0.75, abs=0.05)


def test_folds_hold_whole_patients_and_each_has_both_answers() -> None:
    patients = np.repeat(np.arange(40), 3)
    truth = (patients < 6).astype(np.int64)
    truth[patients == 6] = (0, 1, 0)
    folds = shortcuts._dealt(truth, patients, seed=3)
    assert all(len(set(folds[patients == one])) == 1 for one in range(40))
    assert {(fold, answer) for fold, answer in zip(folds, truth, strict=True)} == {
        (f, a) for f in range(5) for a in (0, 1)
    }
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 3


def test_the_number_is_that_of_scikit_learn_within_each_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    real = shortcuts._out_of_fold

    def noting(features: np.ndarray, truth: np.ndarray, *rest: object) -> tuple[np.ndarray, np.ndarray]:
        folds, scores = real(features, truth, *rest)
        kept.append((folds, scores, truth))
        return folds, scores

    monkeypatch.setattr(shortcuts, "_out_of_fold", noting)
    found = probed(400, lambda n, label: case(n, label, age=str(RNG.integers(20, 60) + 15 * (label == "yes"))))
    ((folds, scores, truth),) = kept
    areas, sizes = [], []
    for fold in range(5):
        inside = folds == fold
        areas.append(roc_auc_score(truth[inside], scores[inside]))
        sizes.append(truth[inside].sum() * (1 - truth[inside]).sum())
    assert value(found["age"])[1] == pytest.approx(np.average(areas, weights=sizes))


def test_a_vendor_of_a_rare_disease_and_one_of_many_sites_are_found() -> None:
    rare = [case(n, "yes" if n < 10 else "no", vendor="ACME" if n < 10 else "Other") for n in range(1000)]
    (found,) = probe(Manifest(findings=(LESION,), cases=tuple(rare)))
    assert value(found)[1] > 0.95
    sites = [case(n, "yes" if n % 100 % 2 else "no", site=f"H{n % 100}") for n in range(2000)]
    (found,) = probe(Manifest(findings=(LESION,), cases=tuple(sites)))
    assert value(found)[1] > 0.95
