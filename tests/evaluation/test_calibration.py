import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, softmax
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from pipeline.domain.encoding import class_probabilities
from pipeline.domain.finding import Finding, FindingKind
from pipeline.evaluation.calibration import fit_temperature, negative_log_likelihood, reliability, wilson

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
ORGAN = Finding(name="organ", kind=FindingKind.MULTICLASS, classes=("a", "b", "c"))
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("x", "y"))
GRADE = Finding(name="grade", kind=FindingKind.ORDINAL, classes=("none", "mild", "severe"))


def drawn(finding: Finding, cases: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits that are calibrated by construction: the truth is drawn from their own probabilities."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(cases, finding.outputs)) * 1.5
    if finding.kind is FindingKind.ORDINAL:
        logits = -np.sort(-logits, axis=1)
    chances = class_probabilities(finding, logits)
    if finding.kind is FindingKind.MULTILABEL:
        return logits, (random.uniform(size=chances.shape) < chances).astype(np.int64)
    truth = (random.uniform(size=(cases, 1)) > chances.cumsum(axis=1)).sum(axis=1)
    return logits, truth[:, np.newaxis]


@pytest.mark.parametrize("finding", [LESION, ORGAN, SIGNS, GRADE], ids=lambda f: f.kind.value)
@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_it_finds_the_temperature_that_the_logits_were_spoilt_by(finding: Finding, factor: float) -> None:
    logits, labels = drawn(finding, 20_000)
    found = fit_temperature(finding, logits * factor, labels)
    assert found.temperature == pytest.approx(factor, rel=0.06)
    assert found.note == ""
    if factor != 1.0:
        assert found.brier_after is not None and found.brier_before is not None
        assert found.brier_after < found.brier_before


def test_a_binary_temperature_is_the_slope_of_a_logistic_regression() -> None:
    logits, labels = drawn(LESION, 300, seed=3)
    logits *= 2.5
    slope = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logits, labels[:, 0]).coef_[0, 0]
    assert fit_temperature(LESION, logits, labels).temperature == pytest.approx(1 / slope, rel=1e-4)


def test_brier_is_that_of_the_known_cases() -> None:
    logits, labels = drawn(LESION, 200)
    labels[::7] = -1
    known = labels[:, 0] >= 0
    found = fit_temperature(LESION, logits * 2, labels)
    only_known = fit_temperature(LESION, (logits * 2)[known], labels[known, 0])
    assert found == only_known
    assert found.brier_before == pytest.approx(brier_score_loss(labels[known, 0], expit(2 * logits[known, 0])))
    calibrated = expit(2 * logits[known, 0] / found.temperature)
    assert found.brier_after == pytest.approx(brier_score_loss(labels[known, 0], calibrated))


def test_the_likelihood_is_scikit_learns() -> None:
    logits, labels = drawn(ORGAN, 100)
    assert negative_log_likelihood(ORGAN, logits, labels) == pytest.approx(log_loss(labels[:, 0], softmax(logits, 1)))
    logits, labels = drawn(LESION, 100)
    assert negative_log_likelihood(LESION, logits, labels) == pytest.approx(log_loss(labels[:, 0], expit(logits[:, 0])))
    logits, labels = drawn(GRADE, 100)
    expected = log_loss(labels[:, 0], class_probabilities(GRADE, logits))
    assert negative_log_likelihood(GRADE, logits, labels) == pytest.approx(expected)


def test_huge_logits_do_not_overflow() -> None:
    logits = np.array([[800.0], [-800.0], [900.0]])
    assert negative_log_likelihood(LESION, logits, np.array([[1], [0], [0]])) == pytest.approx(300)


@pytest.mark.parametrize(
    ("labels", "why"),
    [([0, 1] * 4, "8 known labels"), ([1] * 30, "one class"), ([-1] * 30, "0 known"), ([0] * 15 + [1] * 15, "perfect")],
)
def test_nothing_is_fitted_to_too_little(labels: list[int], why: str) -> None:
    logits = np.linspace(-2, 2, len(labels))[:, np.newaxis]
    found = fit_temperature(LESION, logits, np.array(labels))
    assert found.temperature == 1.0
    assert why in found.note
    assert found.brier_before == found.brier_after


def test_useless_logits_are_flattened_with_a_note() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 500)
    found = fit_temperature(LESION, -4.0 * (labels[:, np.newaxis] - 0.5) + random.normal(size=(500, 1)), labels)
    assert found.temperature == pytest.approx(20, rel=0.01)
    assert "upper bound" in found.note


@pytest.mark.parametrize("size", [1.0, 0.01])
def test_separated_cases_are_told_from_logits_that_hardly_differ(size: float) -> None:
    labels = np.repeat([0, 1], 20)
    logits = size * np.where(labels == 1, 1.0, -1.0)[:, np.newaxis]
    perfect = fit_temperature(LESION, logits, labels)
    assert perfect.temperature == 1.0 and "separated perfectly" in perfect.note
    logits[:3] *= -1
    found = fit_temperature(LESION, logits, labels)
    if size == 1.0:  # the slope of the odds: 37 of 40 are right
        assert found.temperature == pytest.approx(1 / np.log(37 / 3), rel=1e-4) and found.note == ""
    else:
        assert found.temperature == 1.0 and "the logits differ so little" in found.note


def test_reliability_is_scikit_learns_curve() -> None:
    logits, labels = drawn(LESION, 500)
    found = reliability(LESION, class_probabilities(LESION, logits), labels, 10)
    observed, predicted = calibration_curve(labels[:, 0], expit(logits[:, 0]), n_bins=10)
    full = [entry for entry in found.bins if entry.cases]
    assert [entry.observed for entry in full] == pytest.approx(observed)
    assert [entry.predicted for entry in full] == pytest.approx(predicted)
    assert sum(entry.cases for entry in found.bins) == 500
    gaps = [entry.cases * abs(p - o) for entry, p, o in zip(full, predicted, observed, strict=True)]
    assert found.expected_calibration_error == pytest.approx(sum(gaps) / 500)
    assert found.of == "yes"


def test_reliability_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.0, 1.0], [0.5, 0.5]])
    found = reliability(LESION, probabilities, np.array([[0], [1], [1], [-1]]), 2)
    first, last = found.bins
    assert (first.cases, first.predicted, first.observed) == (2, pytest.approx(0.15), 0.5)
    assert (last.cases, last.predicted, last.observed) == (1, 1.0, 1.0)
    assert found.expected_calibration_error == pytest.approx(2 / 3 * 0.35)
    nothing = reliability(LESION, np.zeros((0, 2)), np.zeros((0, 1), dtype=int), 2)
    assert nothing.expected_calibration_error is None


def test_reliability_of_several_classes_is_of_the_most_probable_one() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    found = reliability(ORGAN, probabilities, np.array([[0], [1]]), 10)
    assert {entry.lower: entry.observed for entry in found.bins if entry.cases} == {0.6: 0.0, 0.7: 1.0}
    marks = reliability(SIGNS, np.array([[0.15, 0.95]]), np.array([[0, -1]]), 10)
    assert sum(entry.cases for entry in marks.bins) == 1


@pytest.mark.parametrize(("right", "count"), [(0, 10), (3, 10), (10, 10), (50, 80)])
def test_wilson_inverts_the_score_test(right: int, count: int) -> None:
    share = right / count
    low, high = wilson(share, count)

    def statistic(p: float) -> float:
        return abs(share - p) - 1.959963984540054 * np.sqrt(p * (1 - p) / count)

    assert low == pytest.approx(brentq(statistic, 1e-12, share - 1e-9) if right else 0.0, abs=1e-9)
    assert high == pytest.approx(brentq(statistic, share + 1e-9, 1 - 1e-12) if right < count else 1.0, abs=1e-9)
