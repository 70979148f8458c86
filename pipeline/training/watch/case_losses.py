"""What each case adds to a validation loss, and how certain a difference of two such losses is."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pipeline.domain.case import UNKNOWN
from pipeline.domain.encoding import label_slices, output_slices
from pipeline.domain.finding import Finding, FindingKind

DEVIATES = 1.96
"""Standard errors on each side of a 95% interval of a normal deviate."""


class Gap(NamedTuple):
    """Validation loss less training loss, with its 95% interval."""

    training: float
    validation: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """The gap itself."""
        return self.validation - self.training


def case_losses(findings: Sequence[Finding], logits: Tensor, labels: Tensor) -> NDArray[np.float64]:
    """Share of each case, shape (n,), whose mean is the plain :class:`pipeline.training.losses.FindingsLoss`.

    A finding counts by its mean over known labels, so a case known where few are weighs more.

    Parameters
    ----------
    logits : Tensor, shape (n, outputs)
    labels : Tensor of int64, shape (n, columns)
        -1 is unknown.
    """
    shares = []
    for finding, outputs, columns in zip(findings, output_slices(findings), label_slices(findings), strict=True):
        truth = labels[:, columns]
        known = truth != UNKNOWN
        if known.any():
            losses = _losses(finding, logits[:, outputs].float(), truth.clamp(min=0))
            shares.append((losses * known).sum(dim=1).double() * len(labels) / known.sum())
    total = torch.stack(shares).mean(dim=0) if shares else torch.zeros(len(labels), dtype=torch.float64)
    return np.asarray(total.numpy())


def gap(
    training: NDArray[np.float64], trained: Sequence[str], validation: NDArray[np.float64], validated: Sequence[str]
) -> Gap:
    """Gap of two samples of :func:`case_losses`; the interval takes the cases of one patient for one observation.

    Parameters
    ----------
    trained, validated : sequence of str
        Patient of each case.
    """
    wide = DEVIATES * math.sqrt(_variance(training, trained) + _variance(validation, validated))
    losses = float(training.mean()), float(validation.mean())
    difference = losses[1] - losses[0]
    return Gap(*losses, difference - wide, difference + wide)


def _losses(finding: Finding, logits: Tensor, truth: Tensor) -> Tensor:
    """Cross entropy of each label, shape (n, columns)."""
    match finding.kind:
        case FindingKind.MULTILABEL | FindingKind.BINARY:
            return F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none")
        case FindingKind.ORDINAL:
            above = truth > torch.arange(finding.outputs, device=truth.device)
            return F.binary_cross_entropy_with_logits(logits, above.float(), reduction="none").mean(dim=1, keepdim=True)
        case _:
            return F.cross_entropy(logits, truth[:, 0], reduction="none")[:, None]


def _variance(losses: NDArray[np.float64], patients: Sequence[str]) -> float:
    """Variance of a mean over cases that are alike within a patient."""
    _, groups = np.unique(np.asarray(patients), return_inverse=True)
    sums = np.bincount(groups, weights=losses - losses.mean())
    count = len(sums)
    return float(np.square(sums).sum() / len(losses) ** 2 * count / (count - 1)) if count > 1 else math.inf
