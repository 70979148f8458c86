"""Which epoch is the best: its score on validation."""

from collections.abc import Iterator, Sequence

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
    by_class = class_aurocs(findings, logits, labels)
    return {name: float(np.mean(list(values.values()))) for name, values in by_class.items()}


def class_aurocs(
    findings: Sequence[Finding], logits: NDArray[np.floating], labels: NDArray[np.int64]
) -> dict[str, dict[str, float]]:
    """AUROC of each class against the rest, by finding; a binary finding has its positive class alone.

    Parameters
    ----------
    logits : ndarray, shape (n, outputs)
    labels : ndarray of int64, shape (n, columns)
    """
    found: dict[str, dict[str, float]] = {}
    for finding, outputs, columns in zip(findings, output_slices(findings), label_slices(findings), strict=True):
        probabilities = class_probabilities(finding, logits[:, outputs])
        values = {
            name: float(roc_auc_score(is_class[known], probabilities[known, index]))
            for name, index, is_class, known in one_vs_rest(finding, labels[:, columns])
            if len(np.unique(is_class[known])) == 2
        }
        if values:
            found[finding.name] = values
    return found


def has_auroc(findings: Sequence[Finding], labels: NDArray[np.int64]) -> bool:
    """Whether AUROC of every finding is defined on these labels, shape (n, columns)."""
    logits = np.zeros((len(labels), output_slices(findings)[-1].stop))
    return len(labels) > 0 and len(aurocs(findings, logits, labels)) == len(findings)


def selection_score(loss: float, auroc: float | None) -> float:
    """Score an epoch, larger is better: AUROC, ties broken by the loss; without AUROC the negated loss."""
    return -loss if auroc is None else auroc - TIE_BREAK * min(loss, LARGEST_LOSS)


def one_vs_rest(
    finding: Finding, labels: NDArray[np.int64]
) -> Iterator[tuple[str, int, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield name and number of each class that is scored, whether a case is of it and whether that is known, (n,)."""
    if finding.kind is FindingKind.MULTILABEL:
        for index, name in enumerate(finding.classes):
            yield name, index, labels[:, index] == 1, labels[:, index] != UNKNOWN
        return
    truth = labels[:, 0]
    scored = [1] if finding.kind is FindingKind.BINARY else range(len(finding.classes))
    for index in scored:
        yield finding.classes[index], index, truth == index, truth != UNKNOWN
