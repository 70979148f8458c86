"""Distances and limits against closed forms, simulation and scikit-learn."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.covariance import LedoitWolf

from pipeline.domain.scope import Numbers, Space
from pipeline.scope.limits import joint_limits, limit_of
from pipeline.scope.spaces import DIRECTIONS, Measure, fit_space


def test_distance_from_one_point_is_that_of_mahalanobis() -> None:
    variances = np.array([4.0, 1.0, 0.25])
    space = Space(
        mean=Numbers.of(np.array([1.0, 2.0, 3.0, 4.0])),
        scale=Numbers.of(np.array([1.0, 1.0, 1.0, 2.0])),
        basis=Numbers.of(np.eye(4)[:3]),
        variances=Numbers.of(variances),
        rest=0.5,
        neighbours=Numbers.of(np.zeros((3, 3))),
    )
    (found,) = Measure.of(space).distances(np.array([[3.0, 2.0, 4.0, 8.0]]))
    assert found == pytest.approx(math.sqrt((2**2 / 4 + 0 + 1 / 0.25 + 2**2 / 0.5) / 4))
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(20_000, 4)) * np.sqrt([*variances, 0.5]) * [1, 1, 1, 2] + [1, 2, 3, 4]
    squares = Measure.of(space).distances(drawn) ** 2 * 4
    assert (squares > stats.chi2.ppf(0.95, 4)).mean() == pytest.approx(0.05, abs=0.006)


@pytest.mark.parametrize("columns", [6, 60])
def test_spread_is_the_covariance_of_ledoit_and_wolf(columns: int) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(40, columns)) @ rng.normal(size=(columns, columns)) + 3
    space = fit_space(vectors)
    z = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    expected = LedoitWolf(assume_centered=True).fit(z).covariance_
    basis, variances = space.basis.array, space.variances.array
    assert len(basis) == min(columns, DIRECTIONS)
    for direction, variance in zip(basis, variances, strict=True):
        assert direction @ expected @ direction == pytest.approx(variance, rel=1e-4)
    total = variances.sum() + space.rest * (columns - len(basis))
    assert total == pytest.approx(np.trace(expected), rel=1e-4)


def test_the_nearest_is_not_the_mean_where_training_is_of_two_kinds() -> None:
    rng = np.random.default_rng(2)
    two = np.concatenate([rng.normal(-5, 1, (50, 4)), rng.normal(5, 1, (50, 4))])
    measure = Measure.of(fit_space(two))
    between, inside = measure.distances(np.stack([np.zeros(4), np.full(4, 5.0)]))
    assert between > 1.5 * inside  # its distance from the mean is 0


def test_a_limit_is_a_rank_or_the_bound_of_a_normal_distribution() -> None:
    scores = np.random.default_rng(3).permutation(np.arange(1.0, 1000.0))
    assert limit_of(scores.tolist(), 0.01) == 990
    few = [1.0, 2.0, 3.0, 4.0]
    expected = 2.5 + stats.t.ppf(0.99, 3) * np.std(few, ddof=1) * math.sqrt(1.25)
    assert limit_of(few, 0.01) == pytest.approx(expected)
    assert limit_of([0.0] * 50 + [9.0], 0.01) == 9


@pytest.mark.parametrize("count", [78, 1000])
def test_new_scans_in_scope_are_refused_as_often_as_allowed(count: int) -> None:
    rng = np.random.default_rng(count)
    refused = []
    for _ in range(200):
        held_out = {name: rng.normal(size=count).tolist() for name in "abc"}
        limits = joint_limits(held_out, {"a": 3}, 0.02)
        new = {name: rng.normal(size=200) for name in limits}
        refused.append(np.any([new[name] > limit for name, limit in limits.items()], axis=0).mean())
    assert 0.004 < np.mean(refused) < 0.022


def test_alike_detectors_share_their_refusals() -> None:
    scores = np.random.default_rng(4).normal(size=999).tolist()
    limits = joint_limits({"one": scores, "again": scores}, {}, 0.02)
    assert sum(score >= limits["one"] for score in scores) == 20


def test_a_detector_that_always_says_the_same_takes_no_part_of_the_others() -> None:
    scores = np.random.default_rng(5).normal(size=999).tolist()
    limits = joint_limits({"one": scores, "flat": [0.0] * 999}, {}, 0.02)
    assert limits["flat"] == 0 and 8 <= sum(score > limits["one"] for score in scores) <= 19
