"""From a prepared image to its predictions: what `predict`, `evaluate` and the MLflow model share."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.encoding import class_probabilities, output_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.prediction import FindingPrediction
from pipeline.domain.score import Calibration, OperatingPoint
from pipeline.engines.engine import Answer, Engine
from pipeline.errors import RejectedInput
from pipeline.evaluation.operating_points import decide
from pipeline.package.package import ModelPackage


def run_prepared(image: NDArray[np.float32], engine: Engine) -> Answer:
    """Run one prepared image, shape (c, *space).

    Raises
    ------
    RejectedInput
        NOT_FINITE if the network answers with NaN or infinity.
    """
    answer = engine.answer(image[np.newaxis])
    if not (np.isfinite(answer.logits).all() and np.isfinite(answer.features).all()):
        message = "the network's output for this scan is not a finite number"
        raise RejectedInput("NOT_FINITE", message, stage="predict", remedy="Check the scan's intensities.")
    return answer


def interpret_one(answer: Answer, package: ModelPackage) -> tuple[FindingPrediction, ...]:
    """Calibrate and decide the answer to one image."""
    return interpret(answer.logits, package.findings, package.calibration, package.operating_points)[0]


def interpret(
    logits: NDArray[np.floating],
    findings: Sequence[Finding],
    calibration: Sequence[Calibration],
    operating_points: Sequence[OperatingPoint],
) -> list[tuple[FindingPrediction, ...]]:
    """Calibrated probabilities and decisions, one tuple (in the order of `findings`) a row of logits.

    Parameters
    ----------
    logits : ndarray, shape (n, outputs)
        Laid out by :func:`pipeline.domain.encoding.output_slices`.
    calibration, operating_points
        At most one a finding; a finding without calibration has temperature 1.
    """
    temperatures = {entry.finding: entry.temperature for entry in calibration}
    points = {point.finding: point for point in operating_points}
    columns: list[list[FindingPrediction]] = []
    for finding, where in zip(findings, output_slices(findings), strict=True):
        probabilities = class_probabilities(finding, logits[:, where], temperatures.get(finding.name, 1.0))
        point = points.get(finding.name)
        decisions = decide(finding, probabilities, point)
        threshold = point.threshold if point is not None and finding.kind is FindingKind.BINARY else None
        columns.append(
            [
                FindingPrediction(
                    finding=finding.name,
                    probabilities=dict(zip(finding.classes, map(float, row), strict=True)),
                    decision=decision,
                    threshold=threshold,
                )
                for row, decision in zip(probabilities, decisions, strict=True)
            ]
        )
    return list(zip(*columns, strict=True))
