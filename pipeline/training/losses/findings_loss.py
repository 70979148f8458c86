"""The loss of several findings at once."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.domain.case import UNKNOWN
from pipeline.domain.encoding import label_slices, output_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.training.loss_settings import OrdinalLoss
from pipeline.training.losses.label_loss import binary_loss, grade_logarithms, multiclass_loss

Arrays = Sequence[NDArray[np.float32]]


class FindingsLoss(nn.Module):
    """Mean over findings of the mean over known labels.

    Binary: cross entropy of the logit. Multiclass: cross entropy. Multilabel: binary cross entropy of each class whose
    label is known. Ordinal: mean over thresholds t of the binary cross entropy of ``P(y > t)`` (cumulative logits), or
    the cross entropy of the grades themselves.

    Parameters
    ----------
    findings : sequence of Finding
    weights : sequence of ndarray, optional
        Of each finding, as :func:`pipeline.training.losses.class_counts.class_weights` makes them; all ones where it is
        not given.
    smoothing : float
        Share of each label that is spread evenly over the answers (Szegedy et al. 2016); of an ordinal one over the
        two answers at each threshold, or over the grades.
    gamma : float
        Of the focal loss, which takes the place of each cross entropy; 0 leaves it.
    offsets : sequence of ndarray, optional
        Of each finding, shape (outputs,): added to its logits (logit adjustment).
    ordinal : OrdinalLoss
        What of an ordinal finding is told apart, thresholds or grades.
    """

    def __init__(
        self,
        findings: Sequence[Finding],
        weights: Arrays | None = None,
        smoothing: float = 0.0,
        *,
        gamma: float = 0.0,
        offsets: Arrays | None = None,
        ordinal: OrdinalLoss = "thresholds",
    ) -> None:
        super().__init__()
        self.findings = tuple(findings)
        self._columns = tuple(zip(output_slices(self.findings), label_slices(self.findings), strict=True))
        self.smoothing = smoothing
        self.gamma = gamma
        self.ordinal = ordinal
        self.adjusts = offsets is not None
        made = weights if weights is not None else [np.ones(_shape(finding), dtype=np.float32) for finding in findings]
        # they follow from the manifest, so a checkpoint need not hold them
        for number, values in enumerate(made):
            self.register_buffer(f"weights_{number}", torch.from_numpy(values), persistent=False)
        for number, values in enumerate(offsets or ()):
            self.register_buffer(f"offsets_{number}", torch.from_numpy(values), persistent=False)

    def known_labels(self, labels: Tensor) -> Tensor:
        """Count the known labels of each finding: int64, shape (findings,); labels have shape (n, columns)."""
        return torch.stack([(labels[:, columns] != UNKNOWN).sum() for _, columns in self._columns])

    def forward(self, logits: Tensor, labels: Tensor, known_labels: Sequence[int] | None = None) -> Tensor:
        """Loss of a batch, or what one part of a batch adds to it: the losses of all parts sum to that of the whole.

        Parameters
        ----------
        logits : Tensor, shape (n, outputs)
        labels : Tensor of int64, shape (n, columns)
            -1 is unknown. A finding of which the batch knows no label does not count; if none is known the loss is 0.
        known_labels : sequence of int, optional
            :meth:`known_labels` of the whole batch that these cases are a part of; they are the whole by default.
        """
        logits = logits.float()
        counts = self.known_labels(labels).tolist() if known_labels is None else known_labels
        # a part that knows no label of a finding still reaches its head: several processes wait for each gradient
        losses: list[Tensor] = [] if known_labels is None else [logits.sum() * 0.0]
        for number, (finding, (outputs, columns)) in enumerate(zip(self.findings, self._columns, strict=True)):
            truth = labels[:, columns]
            known = truth != UNKNOWN
            if known.any():
                own = logits[:, outputs]
                if self.adjusts:
                    own = own + self.get_buffer(f"offsets_{number}")
                summed = self._known_sum(finding, own, truth, known, self.get_buffer(f"weights_{number}"))
                losses.append(summed / counts[number])
        findings = sum(count > 0 for count in counts)
        return torch.stack(losses).sum() / max(findings, 1) if losses else logits.sum() * 0.0

    def _known_sum(self, finding: Finding, logits: Tensor, truth: Tensor, known: Tensor, weights: Tensor) -> Tensor:
        """Weighted sum over the known labels of one finding; truth and known have shape (n, columns)."""
        how = (self.smoothing, self.gamma)
        if finding.kind is FindingKind.MULTILABEL:
            answer = truth.clamp(min=0)
            loss = binary_loss(logits, answer, *how)
            weight = torch.where(answer == 1, weights[:, 1], weights[:, 0])
            return (loss * weight)[known].sum()
        rows = known[:, 0]
        logits, answer = logits[rows], truth[rows, 0]
        match finding.kind:
            case FindingKind.BINARY:
                loss = binary_loss(logits[:, 0], answer, *how)
            case FindingKind.ORDINAL if self.ordinal == "grades":
                loss = multiclass_loss(grade_logarithms(logits), answer, *how)
            case FindingKind.ORDINAL:
                thresholds = torch.arange(finding.outputs, device=answer.device)
                loss = binary_loss(logits, (answer[:, None] > thresholds).long(), *how).mean(dim=1)
            case _:
                loss = multiclass_loss(logits, answer, *how)
        return (loss * weights[answer]).sum()


def _shape(finding: Finding) -> tuple[int, ...]:
    return (len(finding.classes), 2) if finding.kind is FindingKind.MULTILABEL else (len(finding.classes),)
