"""How well each class is told from the others on validation, epoch by epoch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.encoding import class_probabilities, label_slices, output_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.training.selection import class_aurocs, one_vs_rest


def class_scores(
    findings: Sequence[Finding], logits: NDArray[np.floating], labels: NDArray[np.int64]
) -> dict[str, float]:
    """AUROC, sensitivity and specificity of each class as metrics ``val/MEASURE/FINDING/CLASS``.

    A case is called positive from probability 0.5 on (binary, multilabel), or as its most probable class (multiclass,
    ordinal). That shows how calls move during training; the operating point is chosen afterwards and is another.

    Parameters
    ----------
    logits : ndarray, shape (n, outputs)
    labels : ndarray of int64, shape (n, columns)

    Returns
    -------
    dict of str to float
        AUROC by class only where there are several: a binary finding's is ``val/auroc/FINDING`` already. What is not
        defined, for want of cases with or without the class, is left out.
    """
    several = {finding.name for finding in findings if finding.kind is not FindingKind.BINARY}
    scores = {
        f"val/auroc/{name}/{label}": value
        for name, values in class_aurocs(findings, logits, labels).items()
        if name in several
        for label, value in values.items()
    }
    for finding, outputs, columns in zip(findings, output_slices(findings), label_slices(findings), strict=True):
        called = _called(finding, class_probabilities(finding, logits[:, outputs]))
        for label, index, is_class, known in one_vs_rest(finding, labels[:, columns]):
            for measure, cases, right in (("sensitivity", is_class, True), ("specificity", ~is_class, False)):
                if (cases & known).any():
                    share = float((called[cases & known, index] == right).mean())
                    scores[f"val/{measure}/{finding.name}/{label}"] = share
    return scores


def _called(finding: Finding, probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Classes that each case is called, shape (n, classes)."""
    if finding.kind in (FindingKind.BINARY, FindingKind.MULTILABEL):
        return probabilities >= 0.5
    return np.asarray(probabilities.argmax(axis=1)[:, None] == np.arange(probabilities.shape[1]))
