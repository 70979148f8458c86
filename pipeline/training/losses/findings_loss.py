"""The loss of several findings at once."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.domain.case import UNKNOWN
from pipeline.domain.encoding import label_slices, output_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.training.losses.label_loss import binary_loss, multiclass_loss

Arrays = Sequence[NDArray[np.float32]]


class FindingsLoss(nn.Module):
    """Mean over findings of the mean over known labels.

    Binary: cross entropy of the logit. Multiclass: cross entropy. Multilabel: binary cross entropy of each class whose
    label is known. Ordinal: mean over thresholds t of the binary cross entropy of ``P(y > t)`` (cumulative logits).

    Parameters
    ----------
    findings : sequence of Finding
    weights : sequence of ndarray, optional
        Of each finding, as :func:`pipeline.training.losses.class_counts.class_weights` makes them; all ones where it is
        not given.
    smoothing : float
        Share of each label that is spread evenly over the answers (Szegedy et al. 2016); of an ordinal one over the
        two answers at each threshold.
    gamma : float
        Of the focal loss, which takes the place of each cross entropy; 0 leaves it.
    offsets : sequence of ndarray, optional
        Of each finding, shape (outputs,): added to its logits (logit adjustment).
    """

    def __init__(
        self,
        findings: Sequence[Finding],
        weights: Arrays | None = None,
        smoothing: float = 0.0,
        *,
        gamma: float = 0.0,
        offsets: Arrays | None = None,
    ) -> None:
        super().__init__()
        self.findings = tuple(findings)
        self.smoothing = smoothing
        self.gamma = gamma
        self.adjusts = offsets is not None
        made = weights if weights is not None else [np.ones(_shape(finding), dtype=np.float32) for finding in findings]
        # they follow from the manifest, so a checkpoint need not hold them
        for number, values in enumerate(made):
            self.register_buffer(f"weights_{number}", torch.from_numpy(values), persistent=False)
        for number, values in enumerate(offsets or ()):
            self.register_buffer(f"offsets_{number}", torch.from_numpy(values), persistent=False)

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
            truth = labels[:, columns]
            known = truth != UNKNOWN
            if known.any():
                own = logits[:, outputs]
                if self.adjusts:
                    own = own + self.get_buffer(f"offsets_{number}")
                losses.append(self._known_mean(finding, own, truth, known, self.get_buffer(f"weights_{number}")))
        return torch.stack(losses).mean() if losses else logits.sum() * 0.0

    def _known_mean(self, finding: Finding, logits: Tensor, truth: Tensor, known: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean over the known labels of one finding; truth and known have shape (n, columns)."""
        how = (self.smoothing, self.gamma)
        if finding.kind is FindingKind.MULTILABEL:
            answer = truth.clamp(min=0)
            loss = binary_loss(logits, answer, *how)
            weight = torch.where(answer == 1, weights[:, 1], weights[:, 0])
            return (loss * weight)[known].mean()
        rows = known[:, 0]
        logits, answer = logits[rows], truth[rows, 0]
        match finding.kind:
            case FindingKind.BINARY:
                loss = binary_loss(logits[:, 0], answer, *how)
            case FindingKind.ORDINAL:
                thresholds = torch.arange(finding.outputs, device=answer.device)
                loss = binary_loss(logits, (answer[:, None] > thresholds).long(), *how).mean(dim=1)
            case _:
                loss = multiclass_loss(logits, answer, *how)
        return (loss * weights[answer]).mean()


def _shape(finding: Finding) -> tuple[int, ...]:
    return (len(finding.classes), 2) if finding.kind is FindingKind.MULTILABEL else (len(finding.classes),)
