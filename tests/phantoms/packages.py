"""Small model packages with random weights."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.domain.case import Split
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.fingerprint import Fingerprint, Intensities, Spread
from pipeline.domain.geometry import Unit
from pipeline.domain.plan import Plan, Window
from pipeline.domain.score import Calibration, OperatingPoint, Score
from pipeline.networks.classifier import build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.package.card import FindingScores, ModelCard, TrainingData
from pipeline.package.package import ModelPackage, save_package

FINDINGS = (
    Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes"),
    Finding(name="organ", kind=FindingKind.MULTICLASS, classes=("liver", "kidney", "spleen")),
    Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("edema", "nodule")),
    Finding(name="grade", kind=FindingKind.ORDINAL, classes=("none", "mild", "severe")),
)
OUTPUTS = 1 + 3 + 2 + 2
MANIFEST = "a" * 64


def make_plan(ndim: int) -> Plan:
    return Plan(
        fingerprint="f" * 64,
        modality="CT",
        unit=Unit.MM,
        ndim=3 if ndim == 3 else 2,
        channels=1,
        spacing=(2.0,) * ndim,
        size=(12, 10, 8)[:ndim],
        intensity=Window(low=-100, high=300),
        depth=10,
        batch_size=4,
        precision="32",
    )


def make_fingerprint(ndim: int) -> Fingerprint:
    spread = Spread(minimum=1, p10=1, median=2, p90=3, maximum=3)
    return Fingerprint(
        manifest=MANIFEST,
        cases=6,
        patients=5,
        modality="CT",
        unit=Unit.MM,
        ndim=ndim,
        channels=1,
        shape=(spread, spread, spread),
        spacing=(spread, spread, spread),
        extent=(spread, spread, spread),
        intensities=Intensities(mean=0, std=1, p00_5=-90, median=0, p99_5=290, minimum=-100, maximum=300),
        labels={"lesion": {"no": 3, "yes": 3}},
    )


def make_card(findings: Sequence[Finding] = FINDINGS, **changes: object) -> ModelCard:
    score = Score(
        metric="auroc", value=0.91, low=0.85, high=0.96, method="bootstrap of patients", cases=40, patients=38
    )
    data = TrainingData(manifest=MANIFEST, modality="CT", cases={"train": 6}, patients={"train": 5})
    card = ModelCard(
        name="lesion detector",
        intended_use="Research on synthetic scans.",
        data=data,
        findings=tuple(findings),
        scores=(FindingScores(finding="lesion", split=Split.VALIDATION, scores=(score,)),),
        limits=("Not for patients.",),
        versions={"resdx": "0.1.0"},
        created="2026-01-02T03:04:05Z",
        seed=7,
    )
    return card.model_copy(update=changes)


def make_network() -> NetworkSettings:
    return NetworkSettings.from_mapping({"backbone": {"kind": "resnet", "depth": 10, "width": 8}, "dropout": 0.2})


def make_package(
    folder: Path, *, ndim: int = 3, tta_flips: Sequence[int] = (), plan: Plan | None = None, members: int = 1
) -> ModelPackage:
    """A package whose weights and normalisation statistics are random but always the same."""
    plan = plan or make_plan(ndim)
    states = []
    for number in range(members):
        with torch.random.fork_rng():
            torch.manual_seed(7 + number)
            classifier = build_classifier(make_network(), FINDINGS, ndim, plan.channels)
            classifier.train()(torch.randn((4, plan.channels, 12, 10, 8)[: ndim + 2]))
        states.append(classifier.state_dict())
    return save_package(
        folder,
        classifier_state=states if members > 1 else states[0],
        network=make_network(),
        plan=plan,
        fingerprint=make_fingerprint(ndim),
        findings=FINDINGS,
        calibration=(Calibration(finding="lesion", temperature=1.5),),
        operating_points=(OperatingPoint(finding="lesion", threshold=0.4, rule="youden"),),
        manifest_digest=MANIFEST,
        card=make_card(),
        tta_flips=tta_flips,
    )
