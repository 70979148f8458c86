"""The loss of training, as the settings ask for it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.finding import Finding, FindingKind
from pipeline.errors import TrainingError
from pipeline.training.losses.class_counts import class_weights, log_frequencies
from pipeline.training.losses.findings_loss import FindingsLoss
from pipeline.training.settings import TrainingSettings


def training_loss(
    findings: Sequence[Finding],
    labels: NDArray[np.int64],
    settings: TrainingSettings,
    visits: NDArray[np.float64] | None = None,
) -> FindingsLoss:
    """Make the loss that training minimises.

    Parameters
    ----------
    labels : ndarray of int64, shape (cases, columns)
        Of the training split: weights and log frequencies follow from them.
    visits : ndarray, shape (cases,), optional
        How often an epoch visits each case on average, where not all alike: classes that are visited equally often are
        not made up for once more.

    Raises
    ------
    TrainingError
        Logit adjustment of an ordinal finding: each threshold would be moved to a population of its own, and the
        probabilities of the classes, which are differences between thresholds, would belong to none.
    """
    loss = settings.loss
    weights = class_weights(findings, labels, settings.class_weights, loss.beta, visits)
    gamma = loss.gamma if loss.kind == "focal" else 0.0
    offsets = None
    if loss.kind == "logit_adjusted":
        ordinal = [finding.name for finding in findings if finding.kind is FindingKind.ORDINAL]
        if ordinal:
            raise TrainingError(
                f"training.loss.kind is logit_adjusted, not defined for ordinal findings: {', '.join(ordinal)}.",
                "Take training.class_weights: balanced or effective_number, or data.balance, instead.",
            )
        frequencies = zip(findings, log_frequencies(findings, labels, visits), strict=True)
        offsets = [_offset(finding, found) * np.float32(loss.tau) for finding, found in frequencies]
    smoothing = settings.label_smoothing
    return FindingsLoss(findings, weights, smoothing, gamma=gamma, offsets=offsets, ordinal=loss.ordinal)


def _offset(finding: Finding, logarithms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log frequency by logit: of each class, or of yes against no where one logit stands for both."""
    if finding.kind is FindingKind.MULTICLASS:
        return logarithms
    pairs = np.atleast_2d(logarithms)
    return np.asarray(pairs[:, 1] - pairs[:, 0])
