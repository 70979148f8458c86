import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.domain.encoding import class_probabilities
from pipeline.domain.finding import Finding, FindingKind
from pipeline.errors import TrainingError
from pipeline.training.losses import FindingsLoss, check_learnable, class_weights

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
ORGAN = Finding(name="organ", kind=FindingKind.MULTICLASS, classes=("liver", "kidney", "spleen"))
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("edema", "nodule"))
GRADE = Finding(name="grade", kind=FindingKind.ORDINAL, classes=("none", "mild", "severe"))


def loss(finding: Finding, logits: list[list[float]], labels: list[list[int]], **settings: object) -> float:
    return float(FindingsLoss([finding], **settings)(torch.tensor(logits), torch.tensor(labels)))


def test_binary_is_cross_entropy_of_known_labels() -> None:
    assert loss(LESION, [[2.0], [9.0], [-1.0]], [[1], [-1], [1]]) == pytest.approx(
        (math.log1p(math.exp(-2)) + math.log1p(math.exp(1))) / 2
    )


def test_multiclass_is_negative_log_probability() -> None:
    logits = [[1.0, 2.0, 0.5], [0.0, 0.0, 9.0]]
    chance = class_probabilities(ORGAN, np.array(logits))
    assert loss(ORGAN, logits, [[1], [-1]]) == pytest.approx(-math.log(chance[0, 1]))


def test_multilabel_masks_single_classes() -> None:
    expected = (math.log1p(math.exp(1)) + math.log1p(math.exp(-3)) + math.log1p(math.exp(-0.5))) / 3
    assert loss(SIGNS, [[1.0, 7.0], [3.0, -0.5]], [[0, -1], [1, 0]]) == pytest.approx(expected)


def test_ordinal_is_mean_over_thresholds() -> None:
    expected = (math.log1p(math.exp(-2.0)) + math.log1p(math.exp(-1.0))) / 2  # y = 1: above 0, not above 1
    assert loss(GRADE, [[2.0, -1.0]], [[1]]) == pytest.approx(expected)


def test_findings_count_equally_and_those_unknown_not_at_all() -> None:
    both = FindingsLoss([LESION, ORGAN])
    logits = torch.tensor([[0.3, 1.0, 2.0, 0.5]])
    alone = [loss(LESION, [[0.3]], [[1]]), loss(ORGAN, [[1.0, 2.0, 0.5]], [[2]])]
    assert float(both(logits, torch.tensor([[1, 2]]))) == pytest.approx(np.mean(alone))
    assert float(both(logits, torch.tensor([[1, -1]]))) == pytest.approx(alone[0])


def test_nothing_known_is_zero_with_zero_gradient() -> None:
    logits = torch.tensor([[0.3, 1.0, 2.0, 0.5]], requires_grad=True)
    value = FindingsLoss([LESION, ORGAN])(logits, torch.tensor([[-1, -1]]))
    value.backward()
    assert value == 0
    assert logits.grad is not None and not logits.grad.any()


def test_unknown_labels_send_no_gradient() -> None:
    logits = torch.zeros(2, 1, requires_grad=True)
    FindingsLoss([LESION])(logits, torch.tensor([[1], [-1]])).backward()
    assert logits.grad is not None and logits.grad[0] < 0 and logits.grad[1] == 0


def test_smoothing_is_that_of_torch() -> None:
    logits, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
    found = FindingsLoss([ORGAN], smoothing=0.2)(logits, labels[:, None])
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, label_smoothing=0.2))
    assert loss(LESION, [[2.0]], [[1]], smoothing=0.2) == pytest.approx(
        0.9 * math.log1p(math.exp(-2)) + 0.1 * math.log1p(math.exp(2)), rel=1e-5
    )


def test_half_precision_logits_are_measured_in_float32() -> None:
    value = FindingsLoss([LESION])(torch.tensor([[88.0]], dtype=torch.bfloat16), torch.tensor([[0]]))
    assert value.dtype == torch.float32
    assert float(value) == pytest.approx(88.0)


def test_balanced_weights_make_classes_count_equally() -> None:
    labels = np.array([[0, 0, 1, 0]] * 6 + [[1, 1, 0, -1]] * 2 + [[-1, 2, 0, 1]] * 2)
    weights = class_weights([LESION, ORGAN, SIGNS], labels)
    np.testing.assert_allclose(weights[0], [8 / 12, 8 / 4])
    np.testing.assert_allclose(weights[1] * [6, 2, 2], [10 / 3] * 3, rtol=1e-6)
    np.testing.assert_allclose(weights[2], [[10 / 8, 10 / 12], [8 / 12, 8 / 4]], rtol=1e-6)
    value = FindingsLoss([LESION], weights[:1])(torch.full((8, 1), 0.7), torch.from_numpy(labels[:8, :1]))
    expected = (math.log1p(math.exp(0.7)) + math.log1p(math.exp(-0.7))) / 2
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_absent_class_is_no_division_by_zero() -> None:
    weights = class_weights([ORGAN], np.array([[0], [0], [2], [2]]))
    np.testing.assert_allclose(weights[0], [1, 1, 1])


@pytest.mark.parametrize(
    ("finding", "labels", "name"),
    [(LESION, [[1], [1], [-1]], "lesion"), (SIGNS, [[0, 1], [1, 1]], "signs, class nodule")],
)
def test_labels_that_do_not_differ_are_refused(finding: Finding, labels: list[list[int]], name: str) -> None:
    with pytest.raises(TrainingError, match=f"^{name}: the 2 known labels"):
        check_learnable([finding], np.array(labels))
