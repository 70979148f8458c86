"""How labels, logits and probabilities of several findings share one row.

A batch carries one label row a case: findings in order, one column each, a multilabel finding one column a class.
The network's output row is laid out alike, with :attr:`Finding.outputs` columns a finding.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import Case
from pipeline.domain.finding import Finding, FindingKind


def label_slices(findings: Sequence[Finding]) -> tuple[slice, ...]:
    """Columns of each finding in a label row."""
    widths = [len(f.classes) if f.kind is FindingKind.MULTILABEL else 1 for f in findings]
    return _consecutive(widths)


def output_slices(findings: Sequence[Finding]) -> tuple[slice, ...]:
    """Columns of each finding in a row of logits."""
    return _consecutive([f.outputs for f in findings])


def encode_labels(cases: Sequence[Case], findings: Sequence[Finding]) -> NDArray[np.int64]:
    """Label rows, shape (cases, columns); see :meth:`Case.encoded_label`."""
    rows = [[value for finding in findings for value in case.encoded_label(finding)] for case in cases]
    columns = sum(where.stop - where.start for where in label_slices(findings))
    return np.array(rows, dtype=np.int64).reshape(len(cases), columns)


def class_probabilities(
    finding: Finding, logits: NDArray[np.floating], temperature: float = 1.0
) -> NDArray[np.float64]:
    """Turn logits (n, outputs) of one finding into class probabilities (n, classes).

    Binary: sigmoid, as (negative, positive). Multiclass: softmax. Multilabel: independent sigmoids. Ordinal:
    cumulative logits ``P(y > t)`` for each threshold t (McCullagh 1980); class probabilities are their differences.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    match finding.kind:
        case FindingKind.BINARY:
            positive = _sigmoid(scaled[:, 0])
            return np.stack([1.0 - positive, positive], axis=1)
        case FindingKind.MULTICLASS:
            shifted = np.exp(scaled - scaled.max(axis=1, keepdims=True))
            return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
        case FindingKind.MULTILABEL:
            return _sigmoid(scaled)
        case FindingKind.ORDINAL:
            above = np.minimum.accumulate(_sigmoid(scaled), axis=1)
            edges = np.concatenate([np.ones((len(above), 1)), above, np.zeros((len(above), 1))], axis=1)
            return np.asarray(edges[:, :-1] - edges[:, 1:])


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def _consecutive(widths: Sequence[int]) -> tuple[slice, ...]:
    ends = np.cumsum(widths).tolist()
    return tuple(slice(end - width, end) for width, end in zip(widths, ends, strict=True))
