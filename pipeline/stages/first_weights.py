"""The weights that a training begins with: random, or from a file that is then part of what makes the run."""

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from pipeline.domain.finding import Finding
from pipeline.domain.journal import Journal
from pipeline.domain.plan import Plan
from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.pretrained.files import digest_of
from pipeline.networks.pretrained.loading import load_pretrained
from pipeline.networks.pretrained.report import PretrainedReport
from pipeline.networks.pretrained.settings import PretrainedSettings
from pipeline.networks.settings import NetworkSettings
from pipeline.training.run_folder import SETTINGS, once

log = logging.getLogger("resdx")

REPORT = "pretrained.json"
FACT = "pretrained digest"


def facts(settings: PretrainedSettings) -> dict[str, str]:
    """Name what must be the same when a run goes on: the digest of the file, wherever it lies.

    Raises
    ------
    PretrainedError
        The file cannot be read.
    """
    return {FACT: digest_of(settings.file)} if settings.file else {}


def check(settings: PretrainedSettings, network: NetworkSettings, findings: Sequence[Finding], plan: Plan) -> None:
    """Refuse weights that do not fit before hours are spent on scans; nothing is allocated.

    Raises
    ------
    PretrainedError
        See :func:`pipeline.networks.pretrained.loading.load_pretrained`.
    """
    if settings.file:
        with torch.device("meta"):
            classifier = build_classifier(network, findings, plan.ndim, plan.channels)
        load_pretrained(classifier, settings)


def load(
    settings: PretrainedSettings, classifier: Classifier, network: NetworkSettings, folder: Path, journal: Journal
) -> None:
    """Put the weights into a classifier, and what became of each tensor into the run folder and the journal.

    A run that goes on loads them too, and then its own checkpoint over them.
    """
    if settings.file is None:
        return
    backbone = network.backbone.model_dump(mode="json")
    made = load_pretrained(classifier, settings, digest=_claimed(folder), backbone=backbone)
    report = once(folder / REPORT, PretrainedReport, partial(_announced, made))
    counts = {"taken": report.matched, "adapted": len(report.adapted), "missing": len(report.missing)}
    journal.params({f"pretrained.{name}": count for name, count in counts.items()})
    journal.tags({"resdx.pretrained": report.digest})
    journal.artifact(folder / REPORT, "experiment")


def notes(folder: Path) -> tuple[str, ...]:
    """Say in the model card what the first weights were; nothing where they were random."""
    path = folder / REPORT
    return (PretrainedReport.model_validate_json(path.read_bytes()).summary,) if path.is_file() else ()


def _claimed(folder: Path) -> str:
    """Digest of the file when the run began."""
    settings = folder / SETTINGS
    return str(json.loads(settings.read_text(encoding="utf-8")).get(FACT, "")) if settings.is_file() else ""


def _announced(report: PretrainedReport) -> PretrainedReport:
    log.info("%s", report.summary)
    return report
