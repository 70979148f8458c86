"""The one score that a finding is known by: AUROC, or its mean over the classes."""

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.score import Score
from pipeline.evaluation.intervals import Bootstrap, Estimate, combine
from pipeline.evaluation.metrics.auroc import Config
from pipeline.evaluation.samples import Answers

AUROC = Config().build()


def headline(answers: Answers, bootstrap: Bootstrap) -> Score:
    """AUROC of a binary finding, macro AUROC (one class against the rest, unweighted mean) of any other."""
    samples = answers.binary_samples()
    estimates = [bootstrap.estimate(AUROC, sample) for sample in samples.values()]
    if len(samples) == 1:
        return bootstrap.score("auroc", estimates[0], answers.patients[answers.known])
    return bootstrap.score("macro_auroc", macro(estimates), answers.patients[answers.known])


def macro(estimates: list[Estimate]) -> Estimate:
    """Unweighted mean over classes, not defined unless it is for every class."""
    return combine(estimates, mean, "a class lacks positive or negative cases")


def mean(*values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the arguments, element by element."""
    return np.asarray(np.mean(values, axis=0))
