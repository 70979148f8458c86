"""Where a model is wrong on validation: the hardest cases, and what is taken for what."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline import atomic
from pipeline.domain.case import UNKNOWN, Case
from pipeline.domain.encoding import class_probabilities, encode_labels, label_slices, output_slices
from pipeline.domain.finding import SEPARATOR, Finding, FindingKind
from pipeline.evaluation.plots import DPI, plain, save_figure
from pipeline.training.watch.case_losses import case_losses

HARDEST = "hardest.csv"
LISTED = 50
"""Most cases that the table names."""


@dataclass(frozen=True)
class Answers:
    """What a model says of labelled cases.

    Attributes
    ----------
    logits : ndarray, shape (cases, outputs)
        Calibrated: divided by the temperature of their finding.
    thresholds : mapping of str to float
        Probability from which a binary finding is called positive, by name; 0.5 where there is none.
    """

    findings: tuple[Finding, ...]
    cases: tuple[Case, ...]
    logits: NDArray[np.float64]
    thresholds: Mapping[str, float]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Label rows, shape (cases, columns)."""
        return encode_labels(self.cases, self.findings)

    def losses(self) -> NDArray[np.float64]:
        """Share of each case in the loss, shape (cases,)."""
        return case_losses(self.findings, torch.from_numpy(self.logits), torch.from_numpy(self.labels))

    def probabilities(self, finding: Finding) -> NDArray[np.float64]:
        """Calibrated probabilities, shape (cases, classes)."""
        outputs = output_slices(self.findings)[self.findings.index(finding)]
        return class_probabilities(finding, self.logits[:, outputs])

    def truth(self, finding: Finding) -> NDArray[np.int64]:
        """Label columns of one finding, shape (cases, columns)."""
        return self.labels[:, label_slices(self.findings)[self.findings.index(finding)]]


def hardest(answers: Answers, most: int = LISTED) -> NDArray[np.int64]:
    """Positions of the cases of highest loss, the highest first; equal ones in their order."""
    return np.argsort(-answers.losses(), kind="stable")[:most]


def save_table(path: Path, answers: Answers) -> Path:
    """Write the hardest cases as CSV: rank, pseudonym, loss and, by finding, label and calibrated probabilities."""
    losses = answers.losses()
    columns = ["rank", "case", "loss"]
    for finding in answers.findings:
        columns += [finding.name, *(f"p({finding.name}={name})" for name in finding.classes)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    probabilities = [answers.probabilities(finding) for finding in answers.findings]
    for rank, position in enumerate(hardest(answers), start=1):
        case = answers.cases[position]
        row: list[str] = [str(rank), case.case, f"{losses[position]:.5f}"]
        for finding, chances in zip(answers.findings, probabilities, strict=True):
            row += [_label(answers, finding, position), *(f"{chance:.4f}" for chance in chances[position])]
        writer.writerow(row)
    atomic.write_text(path, buffer.getvalue())
    return path


def confusion(answers: Answers, finding: Finding) -> NDArray[np.int64]:
    """Cases by label (rows) and by what they are called (columns); those of unknown label are left out.

    Binary findings are called by their threshold, others as their most probable class.
    """
    assert finding.kind is not FindingKind.MULTILABEL
    chances = answers.probabilities(finding)
    if finding.kind is FindingKind.BINARY:
        called = (chances[:, 1] >= answers.thresholds.get(finding.name, 0.5)).astype(np.int64)
    else:
        called = chances.argmax(axis=1)
    truth = answers.truth(finding)[:, 0]
    known = truth != UNKNOWN
    counts = np.zeros((len(finding.classes),) * 2, dtype=np.int64)
    np.add.at(counts, (truth[known], called[known]), 1)
    return counts


def save_confusion(path: Path, finding: Finding, counts: NDArray[np.int64], how: str) -> Path:
    """Draw a confusion matrix, coloured by the share of each row.

    Parameters
    ----------
    how : str
        How cases were called.
    """
    side = max(3.4, 1.6 + 0.62 * len(counts))
    figure = Figure(figsize=(side, side + 0.4), dpi=DPI)
    axes = figure.subplots()
    figure.subplots_adjust(left=0.28, right=0.96, bottom=0.22, top=0.86)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "#ffffff" if shares[row, column] > 0.6 else "#222222"
        axes.text(column, row, str(count), ha="center", va="center", fontsize=9, color=colour)
    names = [plain(name) for name in finding.classes]
    axes.set_xticks(range(len(names)), names, fontsize=8, rotation=45 if len(names) > 3 else 0)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("Called", fontsize=9)
    axes.set_ylabel("Label", fontsize=9)
    axes.set_title(f"Validation: {finding.name}\n{how}", fontsize=9, loc="left")
    return save_figure(figure, path)


def _label(answers: Answers, finding: Finding, position: int) -> str:
    """Class in words; of a multilabel finding all that are present, joined by a bar; empty where unknown."""
    truth: Sequence[int] = answers.truth(finding)[position].tolist()
    if finding.kind is FindingKind.MULTILABEL:
        return SEPARATOR.join(name for name, value in zip(finding.classes, truth, strict=True) if value == 1)
    return "" if truth[0] == UNKNOWN else finding.classes[truth[0]]
