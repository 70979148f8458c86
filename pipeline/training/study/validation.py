"""The validation AUROC of a trained network, with its interval and standard error."""

from collections.abc import Sequence

import numpy as np

from pipeline.data.datamodule import CaseDataModule
from pipeline.domain.case import Split
from pipeline.domain.finding import Finding
from pipeline.evaluation.headline import AUROC, macro
from pipeline.evaluation.intervals import Bootstrap
from pipeline.evaluation.samples import answers_of
from pipeline.training.study.loop import Trained
from pipeline.training.study.record import Record, Shape

FEWEST = 2
"""Defined resamples that a standard error needs."""


def scored(
    trained: Trained, shape: Shape, seed: int, data: CaseDataModule, findings: Sequence[Finding], resamples: int
) -> Record:
    """Record of a network: its course, and its AUROC at the best point.

    The mean over findings, of each finding the mean over its classes, as the course measures it.
    """
    plain = Record(shape=shape, seed=seed, course=trained.course)
    if trained.logits is None:
        return plain
    cases = data.datasets[Split.VALIDATION].cases
    bootstrap = Bootstrap([case.patient for case in cases], resamples=resamples)
    answers = answers_of(findings, cases, trained.logits, (), (), bootstrap.patients)
    estimate = macro(
        [
            macro([bootstrap.estimate(AUROC, sample) for sample in answer.binary_samples().values()])
            for answer in answers
        ]
    )
    defined = estimate.resampled[~np.isnan(estimate.resampled)]
    return plain.model_copy(
        update={
            "auroc": bootstrap.score("auroc", estimate, bootstrap.patients),
            "standard_error": float(np.std(defined, ddof=1)) if len(defined) >= FEWEST else None,
        }
    )
