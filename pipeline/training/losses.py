"""Losses of each kind of finding: unknown labels are masked, rare classes weigh more, everything is float32."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.domain.case import UNKNOWN
from pipeline.domain.encoding import label_slices, output_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.errors import TrainingError


class FindingsLoss(nn.Module):
    """Mean over findings of the mean over known labels.

    Binary: cross entropy of the logit. Multiclass: cross entropy. Multilabel: binary cross entropy of each class whose
    label is known. Ordinal: mean over thresholds t of the binary cross entropy of ``P(y > t)`` (cumulative logits).

    Parameters
    ----------
    findings : sequence of Finding
    weights : sequence of ndarray, optional
        Of each finding, as :func:`class_weights` makes them; all ones where it is not given.
    smoothing : float
        Share of each label that is spread evenly over the answers.
    """

    def __init__(
        self,
        findings: Sequence[Finding],
        weights: Sequence[NDArray[np.float32]] | None = None,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.findings = tuple(findings)
        self.smoothing = smoothing
        made = weights if weights is not None else [np.ones(_shape(finding), dtype=np.float32) for finding in findings]
        for number, values in enumerate(made):
            # they follow from the manifest, so a checkpoint need not hold them
            self.register_buffer(f"weights_{number}", torch.from_numpy(values), persistent=False)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Loss of a batch.

        Parameters
        ----------
        logits : Tensor, shape (n, outputs)
        labels : Tensor of int64, shape (n, columns)
            -1 is unknown. A finding of which the batch knows no label does not count; if none is known the loss is 0.
        """
        logits = logits.float()
        losses: list[Tensor] = []
        slices = zip(self.findings, output_slices(self.findings), label_slices(self.findings), strict=True)
        for number, (finding, outputs, columns) in enumerate(slices):
            weights = self.get_buffer(f"weights_{number}")
            truth = labels[:, columns]
            known = truth != UNKNOWN
            if known.any():
                losses.append(_known_mean(finding, logits[:, outputs], truth, known, weights, self.smoothing))
        return torch.stack(losses).mean() if losses else logits.sum() * 0.0


def _known_mean(
    finding: Finding, logits: Tensor, truth: Tensor, known: Tensor, weights: Tensor, smoothing: float
) -> Tensor:
    """Weighted mean over the known labels of one finding; truth and known have shape (n, columns)."""
    if finding.kind is FindingKind.MULTILABEL:
        answer = truth.clamp(min=0)
        loss = _binary(logits, answer, smoothing)
        weight = torch.where(answer == 1, weights[:, 1], weights[:, 0])
        return (loss * weight)[known].mean()
    rows = known[:, 0]
    logits, answer = logits[rows], truth[rows, 0]
    match finding.kind:
        case FindingKind.BINARY:
            loss = _binary(logits[:, 0], answer, smoothing)
        case FindingKind.ORDINAL:
            thresholds = torch.arange(finding.outputs, device=answer.device)
            loss = _binary(logits, (answer[:, None] > thresholds).long(), smoothing).mean(dim=1)
        case _:
            loss = F.cross_entropy(logits, answer, reduction="none", label_smoothing=smoothing)
    return (loss * weights[answer]).mean()


def _binary(logits: Tensor, answer: Tensor, smoothing: float) -> Tensor:
    target = answer.to(logits.dtype) * (1.0 - smoothing) + 0.5 * smoothing
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def class_weights(findings: Sequence[Finding], labels: NDArray[np.int64]) -> list[NDArray[np.float32]]:
    """Weights by the inverse of the class counts, mean 1 over the known training labels.

    Parameters
    ----------
    labels : ndarray of int64, shape (cases, columns)
        Of the training split.

    Returns
    -------
    list of ndarray of float32
        Of each finding: shape (classes,), or (classes, 2) for absent and present if multilabel.
    """
    found = []
    for finding, where in zip(findings, label_slices(findings), strict=True):
        columns = labels[:, where]
        if finding.kind is FindingKind.MULTILABEL:
            found.append(np.stack([_balanced(column, 2) for column in columns.T]))
        else:
            found.append(_balanced(columns[:, 0], len(finding.classes)))
    return found


def check_learnable(findings: Sequence[Finding], labels: NDArray[np.int64]) -> None:
    """Refuse a finding of which training shows one answer only: there is nothing to tell apart.

    Raises
    ------
    TrainingError
        Naming the finding.
    """
    for finding, where in zip(findings, label_slices(findings), strict=True):
        for number, column in enumerate(labels[:, where].T):
            known = column[column != UNKNOWN]
            if len(np.unique(known)) < 2:
                name = (
                    f"{finding.name}, class {finding.classes[number]}" if where.stop - where.start > 1 else finding.name
                )
                raise TrainingError(
                    f"{name}: the {len(known)} known labels of the training split do not differ.",
                    "Check the labels and the split; leave this finding out if it cannot be learned.",
                )


def _shape(finding: Finding) -> tuple[int, ...]:
    return (len(finding.classes), 2) if finding.kind is FindingKind.MULTILABEL else (len(finding.classes),)


def _balanced(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    counts = np.bincount(labels[labels != UNKNOWN], minlength=classes)
    present = np.count_nonzero(counts)
    weights = np.divide(counts.sum(), present * counts, out=np.ones(classes), where=counts > 0)
    return np.asarray(weights, dtype=np.float32)
