"""A choice by few validation cases is told as such; one by many, or none at all, is not."""

import numpy as np
import pytest

from pipeline.domain.finding import Finding, FindingKind
from pipeline.training.few_cases import LARGE, chosen_by_few, error_of_mean, standard_error

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("a", "b"))
GRADE = Finding(name="grade", kind=FindingKind.ORDINAL, classes=("0", "1", "2"))
HISTORY = [{"val/auroc": value} for value in (0.7, 0.91, 0.8, 0.85)]


@pytest.mark.parametrize(("auroc", "positives", "negatives"), [(0.5, 30, 50), (0.85, 40, 40), (0.95, 25, 400)])
def test_the_error_is_the_spread_of_auroc_over_samples(auroc: float, positives: int, negatives: int) -> None:
    """Exponential scores, for which the formula holds exactly: P(x > y) = rate / (1 + rate)."""
    random, rate = np.random.default_rng(0), auroc / (1 - auroc)
    drawn = []
    for _ in range(4000):
        high, low = random.exponential(rate, positives), random.exponential(1.0, negatives)
        drawn.append((high[:, None] > low[None]).mean())
    assert np.mean(drawn) == pytest.approx(auroc, abs=0.005)
    assert standard_error(auroc, positives, negatives) == pytest.approx(np.std(drawn), rel=0.06)


def test_the_mean_over_classes_and_findings_has_a_smaller_error_than_each() -> None:
    lesion = np.array([0] * 12 + [1] * 8)
    one = standard_error(0.8, 8, 12)
    assert error_of_mean([LESION], lesion[:, None], 0.8) == pytest.approx(one)
    both = np.stack([lesion, lesion], axis=1)
    assert error_of_mean([SIGNS], both, 0.8) == pytest.approx(one / 2**0.5)
    assert error_of_mean([LESION, SIGNS], np.column_stack([lesion, both]), 0.8) == pytest.approx(one * 1.5**0.5 / 2)


def test_what_has_no_auroc_does_not_count() -> None:
    grade = np.array([0] * 1000 + [1] * 1000)[:, None]  # nobody has grade 2
    assert error_of_mean([GRADE], grade, 0.8) == pytest.approx(standard_error(0.8, 1000, 1000) / 2**0.5)
    signs = np.stack([np.array([0, 1, 1, 0]), np.full(4, -1)], axis=1)
    assert error_of_mean([SIGNS], signs, 0.8) == pytest.approx(standard_error(0.8, 2, 2))
    assert error_of_mean([SIGNS], np.full((4, 2), -1), 0.8) == 0.0


def test_a_choice_by_few_is_told_with_what_was_left() -> None:
    (line,) = chosen_by_few(HISTORY, 2, 0.061)
    assert "Epoch 2 is the best of 4 by AUROC, 0.910" in line and "standard error 0.061" in line
    assert "The last epoch has 0.850" in line and "training.monitor=last" in line


def test_the_last_epoch_is_not_advised_where_it_is_clearly_worse() -> None:
    (line,) = chosen_by_few(HISTORY, 2, 0.059)
    assert "owes something to chance" in line and "monitor" not in line


def test_a_choice_by_many_or_of_the_last_is_not_told() -> None:
    assert chosen_by_few(HISTORY, 2, LARGE - 1e-6) == ()
    assert chosen_by_few(HISTORY, 4, 0.2) == ()
