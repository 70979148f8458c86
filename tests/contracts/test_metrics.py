"""What every metric must do; a new file in the folder arrives under test and needs its oracle in scikit-learn."""

from collections.abc import Callable

import numpy as np
import pytest
import sklearn.metrics as sk
from numpy.typing import NDArray

from pipeline.config import parts
from pipeline.domain.finding import FindingKind
from pipeline.evaluation.metrics.metric import Metric
from pipeline.evaluation.sample import Sample

PARTS = parts("pipeline.evaluation.metrics")
NAMES = [name for name, _ in PARTS]
METRICS: dict[str, Metric] = {name: config().build() for name, config in PARTS}  # type: ignore[attr-defined]
CASES = 60
Oracle = Callable[[Sample, NDArray[np.float64]], float]


def _precision(sample: Sample, weights: NDArray[np.float64], label: int) -> float:
    return float(sk.precision_score(sample.truth, sample.decided, pos_label=label, sample_weight=weights))


def _recall(sample: Sample, weights: NDArray[np.float64], label: int) -> float:
    return float(sk.recall_score(sample.truth, sample.decided, pos_label=label, sample_weight=weights))


def _labels(sample: Sample) -> list[int]:
    return list(range(sample.classes))


def _brier(s: Sample, w: NDArray[np.float64]) -> float:
    if s.classes == 2:
        return float(sk.brier_score_loss(s.truth, s.score, sample_weight=w))
    return float(np.average(np.sum((np.eye(s.classes)[s.truth] - s.probabilities) ** 2, axis=1), weights=w))


ORACLES: dict[str, Oracle] = {
    "accuracy": lambda s, w: sk.accuracy_score(s.truth, s.decided, sample_weight=w),
    "auroc": lambda s, w: sk.roc_auc_score(s.truth, s.score, sample_weight=w),
    "average_precision": lambda s, w: sk.average_precision_score(s.truth, s.score, sample_weight=w),
    "balanced_accuracy": lambda s, w: sk.balanced_accuracy_score(s.truth, s.decided, sample_weight=w),
    "brier": _brier,
    "f1": lambda s, w: sk.f1_score(s.truth, s.decided, sample_weight=w),
    "log_loss": lambda s, w: sk.log_loss(s.truth, s.probabilities, sample_weight=w, labels=_labels(s)),
    "npv": lambda s, w: _precision(s, w, 0),
    "ppv": lambda s, w: _precision(s, w, 1),
    "quadratic_kappa": lambda s, w: sk.cohen_kappa_score(s.truth, s.decided, weights="quadratic", sample_weight=w),
    "sensitivity": lambda s, w: _recall(s, w, 1),
    "specificity": lambda s, w: _recall(s, w, 0),
}


def sample_of(kind: FindingKind, seed: int = 0, cases: int = CASES) -> Sample:
    """Random cases; binary scores have many ties."""
    random = np.random.default_rng(seed)
    classes = 2 if kind is FindingKind.BINARY else 4
    truth = random.integers(0, classes, cases)
    probabilities = random.dirichlet(np.ones(classes), cases) + 0.3 * np.eye(classes)[truth]
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    if kind is FindingKind.BINARY:
        positive = np.round(probabilities[:, 1], 1)
        probabilities = np.stack([1 - positive, positive], axis=1)
    patients = random.integers(0, cases // 2, cases)
    return Sample(kind, truth, probabilities, probabilities.argmax(axis=1), patients)


def one(metric: Metric, sample: Sample, weights: NDArray[np.float64] | None = None) -> float:
    return float(metric.values(sample, np.ones((1, sample.cases)) if weights is None else weights[np.newaxis])[0])


@pytest.fixture(params=NAMES)
def metric(request: pytest.FixtureRequest) -> Metric:
    return METRICS[request.param]


def samples(metric: Metric) -> list[Sample]:
    return [sample_of(kind, seed) for kind in sorted(metric.kinds) for seed in range(5)]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_described(name: str) -> None:
    metric = METRICS[name]
    assert (metric.name, bool(metric.title), bool(metric.undefined)) == (name, True, True)
    assert metric.kinds and FindingKind.MULTILABEL not in metric.kinds


def test_it_agrees_with_scikit_learn(metric: Metric) -> None:
    for sample in samples(metric):
        ones = np.ones(sample.cases)
        assert one(metric, sample) == pytest.approx(ORACLES[metric.name](sample, ones), abs=1e-9)


def test_weights_mean_what_they_mean_to_scikit_learn(metric: Metric) -> None:
    random = np.random.default_rng(9)
    for sample in samples(metric):
        for weights in (random.uniform(0.1, 3, sample.cases), random.integers(1, 4, sample.cases).astype(float)):
            expected = ORACLES[metric.name](sample, weights)
            assert one(metric, sample, weights) == pytest.approx(expected, abs=1e-9)


def test_a_whole_weight_is_as_many_copies_of_the_case(metric: Metric) -> None:
    for sample in samples(metric):
        counts = np.random.default_rng(40).integers(0, 4, sample.cases)
        index = np.repeat(np.arange(sample.cases), counts)
        copies = Sample(
            sample.kind, sample.truth[index], sample.probabilities[index], sample.decided[index], sample.patients[index]
        )
        assert one(metric, sample, counts.astype(float)) == pytest.approx(one(metric, copies), abs=1e-12)


def test_rows_of_weights_do_not_touch_each_other(metric: Metric) -> None:
    for sample in samples(metric):
        weights = np.random.default_rng(6).integers(0, 3, (7, sample.cases)).astype(float)
        together = metric.values(sample, weights)
        assert together.shape == (7,)
        np.testing.assert_allclose(together, [one(metric, sample, row) for row in weights], rtol=0, atol=1e-12)


def test_order_of_the_cases_does_not_matter(metric: Metric) -> None:
    for sample in samples(metric):
        order = np.random.default_rng(1).permutation(sample.cases)
        moved = Sample(
            sample.kind, sample.truth[order], sample.probabilities[order], sample.decided[order], sample.patients[order]
        )
        assert one(metric, moved) == pytest.approx(one(metric, sample), abs=1e-12)


def test_perfect_predictions_have_the_best_value(metric: Metric) -> None:
    best = {"brier": 0.0, "log_loss": 0.0}.get(metric.name, 1.0)
    assert metric.higher_is_better is (best == 1.0)
    for sample in samples(metric):
        sure = np.eye(sample.classes)[sample.truth]
        perfect = Sample(sample.kind, sample.truth, sure, sample.truth, sample.patients)
        assert one(metric, perfect) == pytest.approx(best, abs=1e-9)


def test_without_weight_there_is_no_value_rather_than_nought(metric: Metric) -> None:
    for sample in samples(metric):
        assert np.isnan(metric.values(sample, np.zeros((2, sample.cases)))).all()


UNDEFINED = {
    "auroc": (0, 1),
    "average_precision": (0,),
    "balanced_accuracy": (0, 1),
    "sensitivity": (0,),
    "specificity": (1,),
}


@pytest.mark.parametrize(("name", "only"), [(name, only) for name, given in UNDEFINED.items() for only in given])
def test_one_class_only_is_not_defined(name: str, only: int) -> None:
    sample = sample_of(FindingKind.BINARY)
    alone = Sample(sample.kind, np.full(CASES, only), sample.probabilities, sample.decided, sample.patients)
    assert np.isnan(one(METRICS[name], alone))
    # the same without the other class's weight
    weights = (sample.truth == only).astype(float)
    assert np.isnan(one(METRICS[name], sample, weights))


@pytest.mark.parametrize(("name", "decided"), [("ppv", 0), ("npv", 1)])
def test_predictive_values_need_a_decision(name: str, decided: int) -> None:
    sample = sample_of(FindingKind.BINARY)
    alike = Sample(sample.kind, sample.truth, sample.probabilities, np.full(CASES, decided), sample.patients)
    assert np.isnan(one(METRICS[name], alike))


def test_trials_are_the_cases_that_change_the_value(metric: Metric) -> None:
    for sample in samples(metric):
        trials = metric.trials(sample)
        if trials is None:
            continue
        weights = np.where(trials, 1.0, 7.0)
        assert one(metric, sample, weights) == pytest.approx(one(metric, sample), abs=1e-12)
        assert trials.any()
