import math

import numpy as np
import pytest
import torch
from monai.losses import FocalLoss
from pydantic import ValidationError
from torch.nn import functional as F

from pipeline.domain.case import UNKNOWN
from pipeline.domain.encoding import class_probabilities
from pipeline.domain.finding import Finding, FindingKind
from pipeline.errors import TrainingError
from pipeline.networks.heads import GradesHead
from pipeline.training.losses import FindingsLoss, check_learnable, class_weights, training_loss
from pipeline.training.losses.class_counts import log_frequencies
from pipeline.training.settings import TrainingSettings

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
ORGAN = Finding(name="organ", kind=FindingKind.MULTICLASS, classes=("liver", "kidney", "spleen"))
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("edema", "nodule"))
GRADE = Finding(name="grade", kind=FindingKind.ORDINAL, classes=("none", "mild", "severe"))
FOUR_GRADES = Finding(name="stage", kind=FindingKind.ORDINAL, classes=("0", "1", "2", "3"))


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


@pytest.mark.parametrize("grade", [0, 1, 2])
def test_ordinal_by_grades_is_the_negative_log_probability_of_the_grade(grade: int) -> None:
    logits = [[2.0, -1.0], [30.0, 29.0]]
    chance = class_probabilities(GRADE, np.array(logits))[0, grade]
    assert loss(GRADE, logits, [[grade], [UNKNOWN]], ordinal="grades") == pytest.approx(-math.log(chance))


def test_ordinal_by_grades_under_the_head_of_grades_is_softmax_cross_entropy() -> None:
    torch.manual_seed(0)
    head, features, grades = GradesHead(5, 3), torch.randn(7, 5), torch.randint(0, 4, (7, 1))
    criterion = FindingsLoss([FOUR_GRADES], smoothing=0.1, ordinal="grades")
    expected = F.cross_entropy(head.scores(features), grades[:, 0], label_smoothing=0.1)
    torch.testing.assert_close(criterion(head(features), grades), expected)


def test_grades_that_leave_no_room_between_them_have_a_finite_loss_and_gradient() -> None:
    logits = torch.tensor([[1.0, 1.0], [90.0, 90.0], [200.0, -200.0]], requires_grad=True)
    value = FindingsLoss([GRADE], ordinal="grades")(logits, torch.tensor([[1], [1], [2]]))
    value.backward()
    assert value.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


def test_findings_count_equally_and_those_unknown_not_at_all() -> None:
    both = FindingsLoss([LESION, ORGAN])
    logits = torch.tensor([[0.3, 1.0, 2.0, 0.5]])
    alone = [loss(LESION, [[0.3]], [[1]]), loss(ORGAN, [[1.0, 2.0, 0.5]], [[2]])]
    assert float(both(logits, torch.tensor([[1, 2]]))) == pytest.approx(np.mean(alone))
    assert float(both(logits, torch.tensor([[1, -1]]))) == pytest.approx(alone[0])


@pytest.mark.parametrize("ends", [(3, 4), (1, 8), (0, 9)])
def test_parts_of_a_batch_sum_to_the_loss_and_gradient_of_the_whole(ends: tuple[int, int]) -> None:
    """However the known labels lie: here the first part knows no grade, the organ is unknown throughout."""
    findings = [LESION, ORGAN, SIGNS, GRADE]
    torch.manual_seed(0)
    labels = torch.stack([torch.randint(-1, high, (9,)) for high in (2, 1, 2, 2, 3)], dim=1)
    labels[:, 1], labels[:3, 4] = -1, -1
    logits = torch.randn(9, 1 + 3 + 2 + 2, requires_grad=True)
    whole = FindingsLoss(findings, class_weights(findings, labels.numpy()), 0.1)
    counts = whole.known_labels(labels).tolist()
    assert counts == [int((labels[:, columns] >= 0).sum()) for columns in ([0], [1], [2, 3], [4])]
    value = whole(logits, labels)
    (expected,) = torch.autograd.grad(value, logits)
    parts = [slice(0, ends[0]), slice(*ends), slice(ends[1], 9)]
    summed = sum(whole(logits[part], labels[part], counts) for part in parts)
    assert isinstance(summed, torch.Tensor)
    assert float(summed) == pytest.approx(float(value), rel=1e-6)
    assert torch.allclose(torch.autograd.grad(summed, logits)[0], expected, rtol=1e-5, atol=1e-8)


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


SEVERAL = (LESION, ORGAN, SIGNS, GRADE)
RANDOM = torch.Generator().manual_seed(1)
LOGITS = torch.randn(40, 8, generator=RANDOM) * 3
LABELS = torch.stack([torch.randint(-1, most, (40,), generator=RANDOM) for most in (2, 3, 2, 2, 3)], dim=1)


def recipe(
    findings: list[Finding], labels: np.ndarray, visits: np.ndarray | None = None, **settings: object
) -> FindingsLoss:
    chosen = TrainingSettings.model_validate({"class_weights": "none"} | settings)
    return training_loss(findings, labels, chosen, visits)


def test_focal_agrees_with_monai_and_masks_what_is_unknown() -> None:
    logits, labels = LOGITS[:, 1:4], LABELS[:, 1]
    known = labels >= 0
    found = FindingsLoss([ORGAN], gamma=2.0)(logits, labels[:, None])
    # monai takes the mean over classes too
    expected = FocalLoss(use_softmax=True, to_onehot_y=True, gamma=2.0)(logits[known], labels[known, None]) * 3
    torch.testing.assert_close(found, expected)
    known = LABELS[:, 0] >= 0
    found = FindingsLoss([LESION], gamma=1.5)(LOGITS[:, :1], LABELS[:, :1])
    torch.testing.assert_close(found, FocalLoss(gamma=1.5)(LOGITS[known, :1], LABELS[known, :1].float()))
    signs, masked = LABELS[:, 2:4], LABELS[:, 2:4] >= 0
    found = FindingsLoss([SIGNS], gamma=3.0)(LOGITS[:, 4:6], signs)
    expected = FocalLoss(gamma=3.0, reduction="none")(LOGITS[:, 4:6], signs.clamp(min=0).float())
    torch.testing.assert_close(found, expected[masked].mean())


def test_focal_of_an_ordinal_finding_is_the_mean_over_its_thresholds() -> None:
    above, below = 1 / (1 + math.exp(-2.0)), 1 / (1 + math.exp(-1.0))  # chance of y > 0, and of not y > 1
    expected = (-((1 - above) ** 2) * math.log(above) - (1 - below) ** 2 * math.log(below)) / 2
    assert loss(GRADE, [[2.0, -1.0]], [[1]], gamma=2.0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_focal_without_focus_is_cross_entropy(smoothing: float) -> None:
    plain = FindingsLoss(SEVERAL, smoothing=smoothing)(LOGITS, LABELS)
    torch.testing.assert_close(FindingsLoss(SEVERAL, smoothing=smoothing, gamma=1e-9)(LOGITS, LABELS), plain)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_of_logits_beyond_all_doubt_has_a_finite_gradient(gamma: float) -> None:
    logits = (LOGITS * 1e4).requires_grad_(True)
    value = FindingsLoss(SEVERAL, gamma=gamma, smoothing=0.1)(logits, LABELS)
    value.backward()
    assert value.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


def test_smoothing_draws_multilabel_and_ordinal_targets_towards_the_middle() -> None:
    def cross_entropy(logit: float, target: float) -> float:
        return target * math.log1p(math.exp(-logit)) + (1 - target) * math.log1p(math.exp(logit))

    expected = cross_entropy(1.0, 0.9)
    assert loss(SIGNS, [[1.0, 7.0]], [[1, -1]], smoothing=0.2) == pytest.approx(expected, rel=1e-5)
    expected = (cross_entropy(2.0, 0.9) + cross_entropy(-1.0, 0.1)) / 2
    assert loss(GRADE, [[2.0, -1.0]], [[1]], smoothing=0.2) == pytest.approx(expected, rel=1e-5)


def test_effective_numbers_weigh_by_the_sum_of_a_geometric_series() -> None:
    counts, beta = np.array([50, 5, 1]), 0.9
    labels = np.repeat(np.arange(3), counts)[:, None]
    effective = np.array([sum(beta**k for k in range(count)) for count in counts])
    (weights,) = class_weights([ORGAN], labels, "effective_number", beta)
    np.testing.assert_allclose(weights * effective, np.full(3, weights[0] * effective[0]), rtol=1e-5)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)
    near = class_weights([ORGAN], labels, "effective_number", 1 - 1e-9)[0]
    np.testing.assert_allclose(near, class_weights([ORGAN], labels)[0], rtol=1e-5)
    np.testing.assert_allclose(class_weights([ORGAN], labels, "effective_number", 1e-9)[0], 1.0, rtol=1e-5)
    np.testing.assert_array_equal(class_weights([SIGNS], LABELS[:, 2:4].numpy(), "none")[0], np.ones((2, 2)))


def test_logit_adjustment_is_cross_entropy_of_logits_and_log_frequencies() -> None:
    labels = np.array([[0, 0, 1, 0]] * 6 + [[1, 1, 0, -1]] * 2 + [[-1, 2, 0, 1]] * 2)
    made = recipe([LESION, ORGAN, SIGNS], labels, loss={"kind": "logit_adjusted", "tau": 0.5})
    logits, truth = LOGITS[:10, :6], torch.from_numpy(labels)
    moved = logits + 0.5 * torch.tensor(np.log([2 / 6, 6 / 10, 2 / 10, 2 / 10, 6 / 4, 2 / 6])).float()
    torch.testing.assert_close(made(logits, truth), FindingsLoss([LESION, ORGAN, SIGNS])(moved, truth))


def test_logit_adjusted_optimum_is_the_same_for_rare_and_frequent_classes() -> None:
    """A constant logit fitted to labels of which a tenth is positive ends at even odds (Menon et al. 2021)."""
    labels = np.array([[0]] * 9 + [[1]])
    made, logit = recipe([LESION], labels, loss={"kind": "logit_adjusted"}), torch.zeros(1, 1, requires_grad=True)
    made(logit.expand(10, 1), torch.from_numpy(labels)).backward()
    assert logit.grad is not None and abs(float(logit.grad)) < 1e-6


def test_a_class_that_training_lacks_has_a_finite_log_frequency() -> None:
    (found,) = log_frequencies([ORGAN], np.array([[0], [0], [2], [-1]]))
    np.testing.assert_allclose(found, np.log([2 / 4, 1 / 4, 1 / 4]), rtol=1e-6)


def test_logit_adjustment_is_refused_where_it_is_not_defined_or_would_count_twice() -> None:
    with pytest.raises(TrainingError, match="not defined for ordinal findings: grade"):
        recipe([LESION, GRADE], np.array([[0, 1], [1, 2]]), loss={"kind": "logit_adjusted"})
    with pytest.raises(ValidationError, match="both make up for rare classes"):
        recipe([LESION], np.array([[0], [1]]), loss={"kind": "logit_adjusted"}, class_weights="balanced")


def test_settings_choose_the_loss() -> None:
    labels = LABELS.numpy()
    made = recipe(list(SEVERAL), labels, loss={"kind": "focal", "gamma": 1.0}, class_weights="effective_number")
    weights = class_weights(SEVERAL, labels, "effective_number", 0.999)
    torch.testing.assert_close(made(LOGITS, LABELS), FindingsLoss(SEVERAL, weights, gamma=1.0)(LOGITS, LABELS))


@pytest.mark.parametrize("settings", [{"class_weights": "balanced"}, {"class_weights": "effective_number"},
                                      {"loss": {"kind": "logit_adjusted"}}])  # fmt: skip
def test_what_sampling_evens_out_is_not_made_up_for_again(settings: dict[str, object]) -> None:
    """Nine without and one with a lesion, visited equally often; the other finding is evened out by its own visits."""
    labels = np.array([[0, 0], [0, 1], [0, 0], [0, 0], [0, 0], [0, 0], [0, 1], [0, 1], [0, 1], [1, 1]])
    visits = np.array([10 / 18] * 9 + [5.0])
    findings = [LESION, LESION.model_copy(update={"name": "other"})]
    found = recipe(findings, labels, visits, **settings)
    plain = FindingsLoss(findings[:1])
    logits = torch.tensor([[0.3, 0.0], [-0.8, 0.0]])
    truth = torch.tensor([[0, UNKNOWN], [1, UNKNOWN]])
    torch.testing.assert_close(found(logits, truth), plain(logits[:, :1], truth[:, :1]))
    if settings.get("class_weights") == "balanced":
        no, yes = found.get_buffer("weights_1")
        assert float(yes / no) == pytest.approx(visits[labels[:, 1] == 0].sum() / visits[labels[:, 1] == 1].sum())
