"""The heatmaps of one case: which class of each finding is explained."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.finding import SEPARATOR, Finding, FindingKind
from pipeline.domain.prediction import FindingPrediction
from pipeline.explanations.explainer import Explainer


def explain(
    explainer: Explainer,
    image: NDArray[np.float32],
    findings: Sequence[Finding],
    predicted: Sequence[FindingPrediction],
    answers: Literal["positive", "all"] = "positive",
) -> dict[str, NDArray[np.float32]]:
    """Explain what was decided about a case.

    Parameters
    ----------
    image : ndarray of float32, shape (c, *space)
        Prepared.
    findings : sequence of Finding
        Of the package.
    predicted : sequence of FindingPrediction
        Of the case; none where its probabilities are withheld.
    answers : str
        See :class:`pipeline.explanations.settings.ExplainSettings`.

    Returns
    -------
    dict of str to ndarray of float32, shape (*space)
        Finding to heatmap; a finding with nothing to explain has none. Where several labels are set, the voxel-wise
        maximum of theirs.

    Raises
    ------
    RejectedInput
        NOT_FINITE; see :meth:`pipeline.explanations.explainer.Explainer.heatmap`.
    """
    known = {finding.name: finding for finding in findings}
    heatmaps: dict[str, NDArray[np.float32]] = {}
    for answer in predicted:
        labels = explained_classes(known[answer.finding], answer.decision, answers)
        if labels:
            found = [explainer.heatmap(image, answer.finding, label) for label in labels]
            heatmaps[answer.finding] = np.maximum.reduce(found)
    return heatmaps


def explained_classes(
    finding: Finding, decision: str, answers: Literal["positive", "all"] = "positive"
) -> tuple[str, ...]:
    """Classes that a heatmap of a decision speaks of.

    Binary: the positive class. Multiclass and ordinal: the decided class. Multilabel: every label that is set. With
    ``positive`` none of a binary finding that was decided negative, and none of the first grade.
    """
    everything = answers == "all"
    match finding.kind:
        case FindingKind.BINARY:
            return (finding.positive,) if everything or decision == finding.positive else ()
        case FindingKind.MULTICLASS:
            return (decision,)
        case FindingKind.ORDINAL:
            return (decision,) if everything or decision != finding.classes[0] else ()
        case FindingKind.MULTILABEL:
            return tuple(label for label in finding.classes if label in decision.split(SEPARATOR))
