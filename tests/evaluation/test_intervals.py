import time

import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms.delong import delong
from scipy.stats import beta

from pipeline.config import parts
from pipeline.domain.finding import FindingKind
from pipeline.domain.score import Score
from pipeline.evaluation.intervals import Bootstrap, combine
from pipeline.evaluation.metrics.metric import Metric
from pipeline.evaluation.sample import Sample

METRICS: dict[str, Metric] = {
    name: config().build()  # type: ignore[attr-defined]
    for name, config in parts("pipeline.evaluation.metrics")
}
TRUE_AUROC = 0.7602499389065233
"""Of two normal distributions one standard deviation apart: Phi(1 / sqrt(2))."""


def binary(truth: NDArray[np.int64], scores: NDArray[np.float64], patients: NDArray[np.int64]) -> Sample:
    scaled = 1 / (1 + np.exp(-scores))
    probabilities = np.stack([1 - scaled, scaled], axis=1)
    return Sample(FindingKind.BINARY, truth, probabilities, (scaled >= 0.5).astype(np.int64), patients)


def drawn(seed: int, cases: int, shift: float = 1.0) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    truth = random.integers(0, 2, cases)
    return truth, random.normal(size=cases) + shift * truth


def scored(name: str, sample: Sample, resamples: int = 2000, seed: int = 0) -> Score:
    bootstrap = Bootstrap([f"P{n}" for n in sample.patients], resamples=resamples, seed=seed)
    sample = Sample(sample.kind, sample.truth, sample.probabilities, sample.decided, bootstrap.patients)
    return bootstrap.score(name, bootstrap.estimate(METRICS[name], sample), sample.patients)


@pytest.mark.parametrize("seed", range(3))
def test_it_agrees_with_delong_where_each_case_is_a_patient(seed: int) -> None:
    truth, scores = drawn(seed, 400)
    area, low, high = delong(truth == 1, scores)

    score = scored("auroc", binary(truth, scores, np.arange(400)))

    assert score.value == pytest.approx(area, abs=1e-12)
    assert (score.low, score.high) == pytest.approx((low, high), abs=0.01)
    assert (score.cases, score.patients, score.level) == (400, 400, 0.95)
    assert score.method == "percentile bootstrap, 2000 resamples of patients"


def test_copies_of_each_case_add_no_certainty() -> None:
    truth, scores = drawn(1, 150)
    alone = scored("auroc", binary(truth, scores, np.arange(150)))
    clustered = scored("auroc", binary(*(np.repeat(x, 4) for x in (truth, scores, np.arange(150)))))
    unclustered = scored("auroc", binary(np.repeat(truth, 4), np.repeat(scores, 4), np.arange(600)))

    assert (clustered.cases, clustered.patients) == (600, 150)
    assert clustered.value == pytest.approx(alone.value)
    width, wide, narrow = (s.high - s.low for s in (alone, clustered, unclustered))  # type: ignore[operator]
    assert wide == pytest.approx(width, rel=0.1)
    assert narrow == pytest.approx(width / 2, rel=0.15)


def coverage(experiments: int, patients: int, per_patient: int, resamples: int) -> float:
    """Share of simulated studies whose interval holds the true AUROC; cases of a patient share half their noise."""
    hits = 0
    for seed in range(experiments):
        random = np.random.default_rng([99, seed])
        truth = np.repeat(random.integers(0, 2, patients), per_patient)
        shared = np.repeat(random.normal(size=patients), per_patient)
        scores = np.sqrt(0.5) * (shared + random.normal(size=truth.size)) + truth
        score = scored("auroc", binary(truth, scores, np.repeat(np.arange(patients), per_patient)), resamples, seed)
        assert score.low is not None and score.high is not None
        hits += score.low <= TRUE_AUROC <= score.high
    return hits / experiments


def test_coverage_is_about_95_percent() -> None:
    # 300 studies: one standard error is 1.3 per cent
    assert coverage(300, 80, 3, 300) == pytest.approx(0.945, abs=0.035)


@pytest.mark.long
def test_coverage_is_95_percent() -> None:
    assert coverage(4000, 100, 3, 1000) == pytest.approx(0.945, abs=0.012)


def test_equal_seeds_give_equal_bits_and_the_order_of_cases_does_not_matter() -> None:
    truth, scores = drawn(3, 60)
    sample = binary(truth, scores, np.arange(60))
    assert scored("auroc", sample) == scored("auroc", sample)
    assert scored("auroc", sample, seed=1).low != scored("auroc", sample).low


def test_resamples_without_a_value_are_counted() -> None:
    # one positive among ten patients: drawn in 1 - 0.9^10 = 65% of the resamples
    truth = np.zeros(10, dtype=np.int64)
    truth[0] = 1
    score = scored("auroc", binary(truth, np.arange(10.0), np.arange(10)))
    assert score.value == 0.0
    assert score.low is not None
    assert " of 2000 resamples" in score.note
    lost = int(score.note.split("not defined in ")[1].split()[0])
    assert lost == pytest.approx(2000 * 0.9**10, abs=80)


def test_hardly_ever_defined_means_no_interval() -> None:
    truth = np.zeros(12, dtype=np.int64)
    truth[0] = 1
    patients = np.array([0] + [1] * 11)
    score = scored("auroc", binary(truth, np.arange(12.0), patients))
    # both patients are drawn in half of the resamples only
    assert score.value == 0.0
    assert score.patients == 2
    assert (score.low is None) == ("no interval" in score.note)
    single = scored("auroc", binary(truth, np.arange(12.0), np.zeros(12, dtype=np.int64)))
    assert (single.low, single.high) == (None, None)
    assert "one patient" in single.note


@pytest.mark.parametrize("name", METRICS)
def test_what_is_not_defined_is_none_with_a_reason(name: str) -> None:
    metric = METRICS[name]
    kind = sorted(metric.kinds)[0]
    classes = 2 if kind is FindingKind.BINARY else 3
    nothing = np.zeros(0, dtype=np.int64)
    empty = Sample(kind, nothing, np.zeros((0, classes)), nothing, nothing)
    bootstrap = Bootstrap([], resamples=10)
    score = bootstrap.score(name, bootstrap.estimate(metric, empty), empty.patients)
    assert (score.value, score.low, score.high, score.cases) == (None, None, None, 0)
    assert "not defined" in score.note


def test_a_proportion_of_one_gets_the_exact_interval_over_patients() -> None:
    truth = np.ones(40, dtype=np.int64)
    sample = binary(truth, np.full(40, 3.0), np.repeat(np.arange(20), 2))
    score = scored("sensitivity", sample)
    assert score.value == score.high == 1.0
    assert score.low == pytest.approx(beta.ppf(0.025, 20, 1)) == pytest.approx(0.025 ** (1 / 20))
    assert "Clopper" in score.method
    wrong = scored("sensitivity", binary(truth, np.full(40, -3.0), np.repeat(np.arange(20), 2)))
    assert (wrong.value, wrong.low) == (0.0, 0.0)
    assert wrong.high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_a_perfect_auroc_says_that_its_interval_is_not_certainty() -> None:
    truth = np.repeat([0, 1], 30)
    score = scored("auroc", binary(truth, truth * 4.0 - 2, np.arange(60)))
    assert (score.value, score.low, score.high) == (1.0, 1.0, 1.0)
    assert "not certainty" in score.note


def test_combined_values_are_made_resample_by_resample() -> None:
    truth, scores = drawn(5, 80)
    sample = binary(truth, scores, np.arange(80))
    bootstrap = Bootstrap([str(n) for n in range(80)], resamples=200)
    sample = sample.where(np.ones(80, dtype=bool))
    sensitivity, specificity = (bootstrap.estimate(METRICS[name], sample) for name in ("sensitivity", "specificity"))

    balanced = combine([sensitivity, specificity], lambda a, b: (a + b) / 2, "")

    direct = bootstrap.estimate(METRICS["balanced_accuracy"], sample)
    assert balanced.value == pytest.approx(direct.value)
    np.testing.assert_allclose(balanced.resampled, direct.resampled)


def test_it_is_fast_enough() -> None:
    truth, scores = drawn(7, 300)
    sample = binary(truth, scores, np.arange(300))
    started = time.process_time()
    bootstrap = Bootstrap([str(n) for n in range(300)], resamples=2000)
    binaries = [metric for metric in METRICS.values() if FindingKind.BINARY in metric.kinds]
    for metric in binaries:
        bootstrap.estimate(metric, sample)
    assert len(binaries) >= 10
    # 0.5 s of one core when alone; the bound leaves room for a busy machine
    assert time.process_time() - started < 4.0
