"""Which epoch is the best: its score on validation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from pipeline.domain.case import UNKNOWN
from pipeline.domain.encoding import class_probabilities, label_slices, output_slices
from pipeline.domain.finding import Finding, FindingKind

TIE_BREAK = 1e-5
"""Weight of the loss beside AUROC: far below what AUROC resolves, so it only decides between equals."""

LARGEST_LOSS = 10.0


def aurocs(findings: Sequence[Finding], logits: NDArray[np.floating], labels: NDArray[np.int64]) -> dict[str, float]:
    """AUROC of each finding; more than two classes: mean over classes of one against the rest.

    Parameters
    ----------
    logits : ndarray, shape (n, outputs)
    labels : ndarray of int64, shape (n, columns)

    Returns
    -------
    dict of str to float
        Findings of which validation knows both answers of at least one class.
    """
    found: dict[str, float] = {}
    for finding, outputs, columns in zip(findings, output_slices(findings), label_slices(findings), strict=True):
        probabilities = class_probabilities(finding, logits[:, outputs])
        values = [
            float(roc_auc_score(is_class[known], probabilities[known, index]))
            for index, (is_class, known) in enumerate(_one_vs_rest(finding, labels[:, columns]))
            if len(np.unique(is_class[known])) == 2
        ]
        if values:
            found[finding.name] = float(np.mean(values))
    return found


def has_auroc(findings: Sequence[Finding], labels: NDArray[np.int64]) -> bool:
    """Whether AUROC of every finding is defined on these labels, shape (n, columns)."""
    logits = np.zeros((len(labels), output_slices(findings)[-1].stop))
    return len(labels) > 0 and len(aurocs(findings, logits, labels)) == len(findings)


def selection_score(loss: float, auroc: float | None) -> float:
    """Score an epoch, larger is better: AUROC, ties broken by the loss; without AUROC the negated loss."""
    return -loss if auroc is None else auroc - TIE_BREAK * min(loss, LARGEST_LOSS)


def _one_vs_rest(finding: Finding, labels: NDArray[np.int64]) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Of each class that is scored: is it this class, is the label known; both of shape (n,)."""
    if finding.kind is FindingKind.MULTILABEL:
        return [(column == 1, column != UNKNOWN) for column in labels.T]
    truth = labels[:, 0]
    known = truth != UNKNOWN
    if finding.kind is FindingKind.BINARY:
        return [(truth == 0, known)]
    return [(truth == index, known) for index in range(len(finding.classes))]
