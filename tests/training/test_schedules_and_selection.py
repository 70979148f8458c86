import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.domain.encoding import class_probabilities
from pipeline.domain.finding import Finding, FindingKind
from pipeline.training.schedules import WarmupCosine
from pipeline.training.selection import aurocs, has_auroc, selection_score

ORGAN = Finding(name="organ", kind=FindingKind.MULTICLASS, classes=("liver", "kidney", "spleen"))
LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")


def test_schedule_rises_to_one_and_ends_at_its_final_share() -> None:
    rate = WarmupCosine(warmup=4, total=20, final=0.1)
    assert [rate(step) for step in range(5)] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rate(19) == pytest.approx(0.1)
    middle = 4 + (20 - 1 - 4) / 2
    assert (rate(int(middle)) + rate(int(middle) + 1)) / 2 == pytest.approx(0.55, abs=0.01)
    assert rate(500) == pytest.approx(0.1)
    values = [rate(step) for step in range(4, 20)]
    assert values == sorted(values, reverse=True)


def test_schedule_without_warmup_starts_at_one() -> None:
    assert WarmupCosine(warmup=0, total=1, final=0.0)(0) == 1.0


def test_auroc_agrees_with_scikit_learn_and_leaves_unknown_out() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 4)), rng.integers(-1, 3, (60, 1))
    lesion = np.where(labels == 2, -1, labels)
    found = aurocs([LESION, ORGAN], logits, np.concatenate([lesion, labels], axis=1))
    known = labels[:, 0] >= 0
    chance = class_probabilities(ORGAN, logits[:, 1:])
    expected = roc_auc_score(labels[known, 0], chance[known], multi_class="ovr", average="macro")
    assert found["organ"] == pytest.approx(expected)
    known = lesion[:, 0] >= 0
    assert found["lesion"] == pytest.approx(roc_auc_score(lesion[known, 0], logits[known, 0]))


def test_auroc_needs_both_classes() -> None:
    assert not has_auroc([LESION], np.array([[1], [1], [-1]]))
    assert not has_auroc([LESION], np.empty((0, 1), dtype=np.int64))
    assert has_auroc([LESION], np.array([[1], [0], [-1]]))


def test_equal_aurocs_are_decided_by_the_loss_and_only_equal_ones() -> None:
    assert selection_score(0.2, 0.9) > selection_score(0.3, 0.9)
    assert selection_score(9.0, 0.9005) > selection_score(0.1, 0.9)
    assert selection_score(0.2, None) > selection_score(0.3, None)
