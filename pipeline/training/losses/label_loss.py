"""Loss of one label, yes or no or one of several: cross entropy, or the focal loss (Lin et al. 2017)."""

import torch
from torch import Tensor
from torch.nn import functional as F

SMALLEST_MISS = torch.finfo(torch.float32).eps
"""1 - p is at least this, for the slope of (1 - p)^gamma is infinite at 0 where gamma is below 1."""

SMALLEST_GAP = torch.finfo(torch.float32).eps
"""Between two cumulative logits: equal ones leave no probability between them, and no finite slope."""


def binary_loss(logits: Tensor, answer: Tensor, smoothing: float = 0.0, gamma: float = 0.0) -> Tensor:
    """Loss of yes or no, of the same shape as the logits.

    With target t, which is the answer drawn towards 1/2 by the smoothing, and probability p of yes it is
    ``-t (1 - p)^gamma log p - (1 - t) p^gamma log(1 - p)``.

    Parameters
    ----------
    logits : Tensor of float32
    answer : Tensor of int64
        0 or 1, of the same shape.
    """
    target = answer.to(logits.dtype) * (1.0 - smoothing) + 0.5 * smoothing
    if not gamma:
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    yes, no = F.logsigmoid(logits), F.logsigmoid(-logits)
    return -(target * torch.exp(gamma * no) * yes + (1.0 - target) * torch.exp(gamma * yes) * no)


def multiclass_loss(logits: Tensor, answer: Tensor, smoothing: float = 0.0, gamma: float = 0.0) -> Tensor:
    """Loss of one of several classes, shape (n,): the sum over classes k of ``-t_k (1 - p_k)^gamma log p_k``.

    Parameters
    ----------
    logits : Tensor of float32, shape (n, classes)
    answer : Tensor of int64, shape (n,)
    """
    if not gamma:
        return F.cross_entropy(logits, answer, reduction="none", label_smoothing=smoothing)
    classes = logits.shape[1]
    target = F.one_hot(answer, classes).to(logits.dtype) * (1.0 - smoothing) + smoothing / classes
    logarithm = F.log_softmax(logits, dim=1)
    missed = (1.0 - logarithm.exp()).clamp_min(SMALLEST_MISS)
    return -(target * missed**gamma * logarithm).sum(dim=1)


def grade_logarithms(logits: Tensor) -> Tensor:
    """Logarithm of the probability of each grade, shape (n, thresholds + 1); its softmax is that probability.

    Parameters
    ----------
    logits : Tensor of float32, shape (n, thresholds)
        Cumulative logits ``P(y > t)``, falling along the second axis. With neighbours a > b, a grade between them has
        ``sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a))``, in which no digits cancel.
    """
    first, last = F.logsigmoid(-logits[:, :1]), F.logsigmoid(logits[:, -1:])
    gaps = (logits[:, :-1] - logits[:, 1:]).clamp_min(SMALLEST_GAP)
    between = F.logsigmoid(logits[:, :-1]) + F.logsigmoid(-logits[:, 1:]) + torch.log(-torch.expm1(-gaps))
    return torch.cat([first, between, last], dim=1)
