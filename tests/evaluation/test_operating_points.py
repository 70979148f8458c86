import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.score import OperatingPoint
from pipeline.errors import ConfigError
from pipeline.evaluation.operating_points import OperatingRule, choose, decide, decided_indices, npv_at, ppv_at

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
YOUDEN = OperatingRule()


def columns(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([1 - scores, scores], axis=1)


def chosen(scores: list[float], labels: list[int], rule: OperatingRule) -> OperatingPoint:
    point = choose(LESION, columns(np.array(scores)), np.array(labels), rule)
    assert point is not None
    return point


SCORES = [0.1, 0.2, 0.2, 0.4, 0.6, 0.8]
LABELS = [0, 0, 1, 0, 1, 1]


def test_youden_by_hand() -> None:
    # thresholds 0.5 (2/3, 1) and 0.15 (1, 1/3): 0.5 is best
    point = chosen(SCORES, LABELS, YOUDEN)
    assert (point.threshold, point.rule) == (pytest.approx(0.5), "youden")
    assert (point.sensitivity, point.specificity) == (pytest.approx(2 / 3), 1.0)


def test_of_equal_thresholds_youden_takes_the_one_that_misses_fewest() -> None:
    # J is 0.5 at 0.15 (1, 0.5) and at 0.35 (0.5, 1)
    point = chosen([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1], YOUDEN)
    assert point.threshold == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("rule", "at_least", "threshold", "sensitivity", "specificity"),
    [
        ("sensitivity", 0.9, 0.15, 1.0, 1 / 3),
        ("sensitivity", 0.6, 0.5, 2 / 3, 1.0),
        ("sensitivity", 0.3, 0.7, 1 / 3, 1.0),
        ("specificity", 1.0, 0.5, 2 / 3, 1.0),
        ("specificity", 0.6, 0.3, 2 / 3, 2 / 3),
        ("specificity", 0.3, 0.15, 1.0, 1 / 3),
    ],
)
def test_at_least_rules_by_hand(
    rule: str, at_least: float, threshold: float, sensitivity: float, specificity: float
) -> None:
    point = chosen(SCORES, LABELS, OperatingRule.from_mapping({"rule": rule, "at_least": at_least}))
    assert point.threshold == pytest.approx(threshold)
    assert (point.sensitivity, point.specificity) == pytest.approx((sensitivity, specificity))
    assert point.rule == f"{rule}>={at_least:g}"


def test_none_positive_is_a_threshold_too() -> None:
    point = chosen([0.2, 1.0], [1, 0], OperatingRule(rule="specificity", at_least=1.0))
    assert point.threshold > 1.0
    assert (point.sensitivity, point.specificity) == (0.0, 1.0)
    assert decide(LESION, columns(np.array([1.0])), point) == ["no"]


PAIRS = st.lists(
    st.tuples(st.integers(0, 12).map(lambda n: n / 12), st.integers(0, 1)), min_size=4, max_size=60
).filter(lambda pairs: len({label for _, label in pairs}) == 2)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_no_threshold_of_scikit_learns_curve_is_better(pairs: list[tuple[float, int]]) -> None:
    scores, labels = [score for score, _ in pairs], [label for _, label in pairs]
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    point = chosen(scores, labels, YOUDEN)
    assert point.sensitivity is not None and point.specificity is not None
    assert point.sensitivity + point.specificity - 1 == pytest.approx(np.max(true - false))
    point = chosen(scores, labels, OperatingRule(rule="sensitivity", at_least=0.8))
    assert point.sensitivity is not None and point.sensitivity >= 0.8 - 1e-9
    assert point.specificity == pytest.approx(np.max(1 - false[true >= 0.8 - 1e-9]))
    point = chosen(scores, labels, OperatingRule(rule="specificity", at_least=0.8))
    assert point.specificity is not None and point.specificity >= 0.8 - 1e-9
    assert point.sensitivity == pytest.approx(np.max(true[1 - false >= 0.8 - 1e-9]))


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.sampled_from([YOUDEN, OperatingRule(rule="sensitivity", at_least=0.9)]))
def test_what_is_promised_is_what_is_decided(pairs: list[tuple[float, int]], rule: OperatingRule) -> None:
    scores, labels = np.array([score for score, _ in pairs]), np.array([label for _, label in pairs])
    point = chosen(list(scores), list(labels), rule)
    decided = decided_indices(LESION, columns(scores), point)
    assert point.sensitivity == pytest.approx(decided[labels == 1].mean())
    assert point.specificity == pytest.approx(1 - decided[labels == 0].mean())
    # no score stands on the threshold, so rounding cannot turn a decision over
    assert np.min(np.abs(scores - point.threshold)) > 0 or point.threshold == 0.0


def test_neighbouring_floats_are_still_told_apart() -> None:
    lower = 0.3
    upper = float(np.nextafter(lower, 1))
    point = chosen([lower, upper], [0, 1], YOUDEN)
    assert (point.sensitivity, point.specificity) == (1.0, 1.0)
    assert decide(LESION, columns(np.array([lower, upper])), point) == ["no", "yes"]


def test_unknown_labels_are_left_out_and_one_class_says_so() -> None:
    assert chosen([*SCORES, 0.99], [*LABELS, -1], YOUDEN) == chosen(SCORES, LABELS, YOUDEN)
    for labels in ([1, 1, -1], [0, 0, -1], [-1, -1, -1]):
        point = chosen([0.1, 0.2, 0.3], labels, YOUDEN)
        assert point.threshold == 0.5
        assert "needs positive and negative" in point.rule
        assert point.sensitivity is None


def test_other_kinds_have_no_threshold() -> None:
    organ = Finding(name="organ", kind=FindingKind.MULTICLASS, classes=("a", "b", "c"))
    signs = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("x", "y"))
    probabilities = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]])
    assert choose(organ, probabilities, np.array([0, 1]), YOUDEN) is None
    assert decide(organ, probabilities, None) == ["b", "a"]
    assert decide(signs, np.array([[0.5, 0.49], [0.9, 0.8], [0.1, 0.2]]), None) == ["x", "x|y", ""]
    assert decide(LESION, columns(np.array([0.5, 0.49])), None) == ["yes", "no"]


def test_a_rule_that_cannot_be_meant_is_refused() -> None:
    for mapping in (
        {"rule": "sensitivity"},
        {"rule": "youden", "at_least": 0.9},
        {"rule": "specificity", "at_least": 90},
    ):
        with pytest.raises(ConfigError):
            OperatingRule.from_mapping(mapping)


def test_predictive_values_by_bayes() -> None:
    # 1000 people, 10 ill: 9 found, 49.5 false alarms
    sensitivity, specificity = np.array([0.9]), np.array([0.95])
    assert ppv_at(0.01, sensitivity, specificity) == pytest.approx(9 / (9 + 49.5))
    assert npv_at(0.01, sensitivity, specificity) == pytest.approx(940.5 / (940.5 + 1))
    assert np.isnan(ppv_at(0.01, np.array([0.0]), np.array([1.0]))).all()
    assert np.isnan(npv_at(0.01, np.array([1.0]), np.array([0.0]))).all()
