"""What `resdx train` leaves for its reviewers in MLflow, beside metrics and model."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import Case, Split
from pipeline.domain.encoding import output_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.journal import Journal
from pipeline.domain.manifest import Manifest
from pipeline.domain.score import Calibration, OperatingPoint, Score
from pipeline.package.package import ModelPackage
from pipeline.preprocessing.cache import PreparedCache
from pipeline.stages.packaging import VALIDATION_LIMIT, class_counts
from pipeline.tracking.datasets import CONTEXTS, profile
from pipeline.tracking.journal import FileJournal
from pipeline.training.fitting import Fitted
from pipeline.training.review.curves import CURVES, save_curves
from pipeline.training.review.inputs import SAMPLE
from pipeline.training.review.mistakes import (
    HARDEST,
    Answers,
    confusion,
    hardest,
    save_confusion,
    save_table,
)
from pipeline.training.review.pictures import middle_slice, save_grid

REVIEW = "review"
"""Folder of a run, and of its artifacts, that holds what is made here."""

SHOWN_METRICS = ("auroc", "average_precision", "quadratic_kappa", "balanced_accuracy", "sensitivity", "specificity")


def record_datasets(manifest: Manifest, name: str, journal: FileJournal) -> None:
    """Name the training and validation cases as inputs of the run; test cases are none, for nothing reads them."""
    columns = [finding.name for finding in manifest.findings]
    for split in (Split.TRAIN, Split.VALIDATION):
        cases = manifest.of(split)
        labels = {finding.name: class_counts(cases, finding) for finding in manifest.findings}
        counted = profile(manifest, split, labels)
        journal.dataset(f"{name}-{split.value}", manifest.digest, CONTEXTS[split], columns, counted)


class Reviewer:
    """Draws and lists, on validation, what the finished model says there.

    Parameters
    ----------
    folder : Path
        Of the run.
    images : bool
        Whether pictures of scans are drawn.
    """

    def __init__(
        self, findings: Sequence[Finding], cases: Sequence[Case], cache: PreparedCache, folder: Path, images: bool
    ) -> None:
        self._findings = tuple(findings)
        self._cases = tuple(cases)
        self._cache = cache
        self._folder = folder / REVIEW
        self._images = images
        self._made: list[Path] = []

    def look(
        self,
        logits: NDArray[np.float32],
        calibration: Sequence[Calibration],
        points: Sequence[OperatingPoint],
    ) -> None:
        """Make table, pictures and confusion matrices; see :func:`pipeline.stages.packaging.make_package`."""
        calibrated = logits.astype(np.float64)
        for entry, outputs in zip(calibration, output_slices(self._findings), strict=True):
            calibrated[:, outputs] /= entry.temperature
        thresholds = {point.finding: point.threshold for point in points}
        answers = Answers(self._findings, self._cases, calibrated, thresholds)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._made = [save_table(self._folder / HARDEST, answers), *self._confusions(answers)]
        if self._images:
            worst = [self._cases[position] for position in hardest(answers, SAMPLE)]
            pictures = [middle_slice(np.asarray(self._cache.load(case))) for case in worst]
            title = "Hardest validation cases, in the order of hardest.csv"
            self._made.append(save_grid(self._folder / "hardest.png", pictures, title))

    def record(self, journal: Journal, fitted: Fitted | None = None) -> None:
        """Give the journal what was made, and the curves of the one network that was trained."""
        curves: list[Path] = []
        if fitted is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            curves = [save_curves(self._folder / CURVES, fitted.history, fitted.best_epoch)]
        for path in (*curves, *self._made):
            journal.artifact(path, REVIEW)

    def _confusions(self, answers: Answers) -> Iterator[Path]:
        for finding in self._findings:
            if finding.kind is not FindingKind.MULTILABEL:
                threshold = answers.thresholds.get(finding.name, 0.5)
                binary = finding.kind is FindingKind.BINARY
                how = f"positive from probability {threshold:.3f} on" if binary else "called as the most probable class"
                path = self._folder / f"confusion_{finding.name}.png"
                yield save_confusion(path, finding, confusion(answers, finding), how)


def description(fitted: Fitted, package: ModelPackage, notes: Sequence[str]) -> str:
    """Summarise a run in Markdown, as its page in MLflow begins.

    Parameters
    ----------
    notes : sequence of str
        Warnings and what was said of the gap between training and validation.
    """
    best = ", ".join(f"{name} {fitted.best[name]:.4f}" for name in ("val/auroc", "val/loss") if name in fitted.best)
    chosen = f"Modality {package.card.data.modality}. {fitted.choice} ({best})."
    return score_table(package, [chosen], notes)


def score_table(
    package: ModelPackage, said: Sequence[str], notes: Sequence[str], reviewed: str = "curves, confusion, hardest cases"
) -> str:
    """Put what is said of a training between its cases and its scores, in Markdown.

    Parameters
    ----------
    reviewed : str
        What there is to look at in the folder of the review.
    """
    card, data = package.card, package.card.data
    lines = [f"**{card.name}**: {card.intended_use}", "", "| split | cases | patients |", "|---|---|---|"]
    splits = (Split.TRAIN.value, Split.VALIDATION.value)
    lines += [f"| {split} | {data.cases[split]} | {data.patients[split]} |" for split in splits]
    where = next((entry.split for entry in card.scores), Split.VALIDATION.value)
    scored_on = f"on {where}" if where == Split.VALIDATION.value else where
    lines += ["", *said, "", f"| finding | measure | {scored_on} | interval |", "|---|---|---|---|"]
    for entry in card.scores:
        lines += [_row(entry.finding, score) for score in entry.scores if score.metric in SHOWN_METRICS]
    lines += ["", f"*{VALIDATION_LIMIT}*"]
    if card.acknowledged_leaks:
        lines += ["", f"**{card.acknowledged_leaks} leaks between splits were acknowledged at ingest.**"]
    lines += ["", *(f"- {note}" for note in notes)] if notes else []
    lines += ["", f"Look at `{REVIEW}/`: {reviewed}. Package `{package.digest[:12]}`."]
    return "\n".join(lines)


def _row(finding: str, score: Score) -> str:
    value = "not defined" if score.value is None else f"{score.value:.3f}"
    is_known = score.low is not None and score.high is not None and score.low < score.high
    interval = f"{score.low:.3f} to {score.high:.3f}" if is_known else ""
    return f"| {finding} | {score.metric} | {value} | {interval} |"
