"""Measure an engine against PyTorch in float32: differences of probability, AUROC, decisions, time."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import UNKNOWN, Case
from pipeline.domain.encoding import class_probabilities, encode_labels, label_slices, output_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.engines.engine import Answer, Engine
from pipeline.evaluation.metrics.auroc import auroc
from pipeline.evaluation.operating_points import decided_indices
from pipeline.evaluation.sample import Sample
from pipeline.package.package import ModelPackage

Floats = NDArray[np.float64]

MOST = 95
"""Percentile of cases that :attr:`Agreement.most` looks at."""


class Agreement(NamedTuple):
    """Differences over a set of cases; see :class:`pipeline.engines.parity.ParityRow` for the fields."""

    largest: float
    most: float
    auroc_change: float | None
    flipped: int
    not_finite: int
    by_case: Floats
    """Largest difference of each case, shape (n,); 1 where an answer is not finite."""


class Judge:
    """Compares logits with those of the reference, on the same cases.

    Parameters
    ----------
    package : ModelPackage
        Its calibration and operating points make probabilities and decisions.
    cases : sequence of Case
    reference : ndarray, shape (n, outputs)
        Finite logits.
    """

    def __init__(self, package: ModelPackage, cases: Sequence[Case], reference: NDArray[np.float32]) -> None:
        assert len(cases) == len(reference) and np.isfinite(reference).all()
        self._findings = package.findings
        self._temperatures = {entry.finding: entry.temperature for entry in package.calibration}
        self._points = {point.finding: point for point in package.operating_points}
        self._labels = encode_labels(cases, package.findings)
        self._reference = reference
        self._chances = self._probabilities(reference)
        self._areas = self._aurocs(self._chances)

    def compare(self, logits: NDArray[np.float32]) -> Agreement:
        """Compare logits of shape (n, outputs)."""
        sound: NDArray[np.bool_] = np.asarray(np.isfinite(logits).all(axis=1))
        filled = np.where(sound[:, np.newaxis], logits, self._reference)
        chances = self._probabilities(filled)
        apart = [np.abs(mine - true).max(axis=1) for mine, true in zip(chances, self._chances, strict=True)]
        by_case = np.where(sound, np.max(apart, axis=0), 1.0)
        pairs = zip(self._aurocs(chances), self._areas, strict=True)
        changes = [abs(mine - true) for mine, true in pairs if np.isfinite(mine) and np.isfinite(true)]
        return Agreement(
            largest=float(by_case.max()),
            most=float(np.percentile(by_case, MOST)),
            auroc_change=max(changes, default=None),
            flipped=sum(map(self._flipped, self._findings, chances, self._chances)),
            not_finite=int((~sound).sum()),
            by_case=by_case,
        )

    def _probabilities(self, logits: NDArray[np.float32]) -> list[Floats]:
        slices = output_slices(self._findings)
        return [
            class_probabilities(finding, logits[:, where], self._temperatures.get(finding.name, 1.0))
            for finding, where in zip(self._findings, slices, strict=True)
        ]

    def _flipped(self, finding: Finding, mine: Floats, true: Floats) -> int:
        point = self._points.get(finding.name)
        return int((decided_indices(finding, mine, point) != decided_indices(finding, true, point)).sum())

    def _aurocs(self, chances: Sequence[Floats]) -> list[float]:
        """AUROC of each class of each finding against the rest; NaN where labels do not allow one."""
        found: list[float] = []
        slices = label_slices(self._findings)
        for finding, columns, chance in zip(self._findings, slices, chances, strict=True):
            labels = self._labels[:, columns]
            for column in [1] if finding.kind is FindingKind.BINARY else range(len(finding.classes)):
                several = finding.kind is FindingKind.MULTILABEL
                truth = labels[:, column] if several else labels[:, 0]
                known = truth != UNKNOWN
                positive = truth[known] == (1 if several else column)
                found.append(_auroc(positive, chance[known, column]))
        return found


def _auroc(positive: NDArray[np.bool_], scores: Floats) -> float:
    if positive.all() or not positive.any():
        return float("nan")
    truth, count = positive.astype(np.int64), len(positive)
    sample = Sample(
        kind=FindingKind.BINARY,
        truth=truth,
        probabilities=np.stack([1.0 - scores, scores], axis=1),
        decided=truth,
        patients=np.arange(count),
    )
    return float(auroc(sample, np.ones((1, count)))[0])


def run_in_turns(engines: Sequence[Engine], images: Iterable[NDArray[np.float32]]) -> tuple[list[Answer], list[float]]:
    """Run every image through every engine; each image begins with another one, so that none has the better moments.

    Parameters
    ----------
    images : iterable of ndarray, shape (c, *space)
        At least one.

    Returns
    -------
    list of Answer
        Of each engine, to all images.
    list of float
        Median seconds of one image, with its flips and members; the first image is run twice, the first time untimed.
    """
    rows: list[list[Answer]] = [[] for _ in engines]
    seconds: list[list[float]] = [[] for _ in engines]
    for number, image in enumerate(images):
        batch = np.array(image, dtype=np.float32)[np.newaxis]
        if number == 0:
            for engine in engines:
                engine.answer(batch)
        for turn in range(len(engines)):
            which = (turn + number) % len(engines)
            began = time.perf_counter()
            rows[which].append(engines[which].answer(batch))
            seconds[which].append(time.perf_counter() - began)
    answers = [Answer(*map(np.concatenate, zip(*found, strict=True))) for found in rows]
    return answers, [float(np.median(found)) for found in seconds]


def run_alone(
    answer: Callable[[NDArray[np.float32]], NDArray[np.float32]], images: Iterable[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Logits (n, outputs) of images (c, *space), by one engine."""
    return np.concatenate([answer(np.array(image, dtype=np.float32)[np.newaxis]) for image in images])
