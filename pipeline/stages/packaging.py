"""From the best weights to a model package: validation logits, temperature, operating point, card."""

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.domain.case import UNKNOWN, Case, Split
from pipeline.domain.encoding import class_probabilities, encode_labels, label_slices, output_slices
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.fingerprint import Fingerprint
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan
from pipeline.domain.scope import ScopeReference
from pipeline.domain.score import Calibration, OperatingPoint
from pipeline.engines.engine import Answer
from pipeline.engines.torch import Config as TorchConfig
from pipeline.evaluation.calibration import fit_temperature
from pipeline.evaluation.operating_points import OperatingRule, choose
from pipeline.evaluation.report import evaluate
from pipeline.evaluation.settings import EvaluationSettings
from pipeline.networks.settings import NetworkSettings
from pipeline.package.card import FindingScores, Member, ModelCard, TrainingData
from pipeline.package.package import ModelPackage, save_package
from pipeline.preprocessing.cache import PreparedCache
from pipeline.progress import track
from pipeline.stages.scope_reference import SAMPLED_FEATURES, make_reference, sampled
from pipeline.tracking.provenance import versions

Look = Callable[[NDArray[np.float32], tuple[Calibration, ...], tuple[OperatingPoint, ...]], None]

COVARIATES = ("vendor", "sex", "site")
"""Covariates whose counts stand in the card."""

VALIDATION_LIMIT = (
    "The scores on validation are optimistic: the temperature, the operating point and, unless the last was kept, the "
    "epoch were chosen there. Judge the model by `resdx evaluate` on the test split or on scans from elsewhere."
)


@dataclass(frozen=True)
class Trained:
    """What training hands over.

    Attributes
    ----------
    state : mapping of str to Tensor, or sequence of mappings
        Weights of the best epoch; of an ensemble those of each member.
    training, held_out : sequence of Case
        Prepared cases that the (first) network was trained on, and those that it was not: the scope of the package.
    validation : sequence of Case
        Prepared cases that it is calibrated and scored on: of the validation split, or of all folds.
    members : tuple of Member
        Of an ensemble, for its card.
    scored_on : str
        What the card calls these cases.
    """

    name: str
    intended_use: str
    state: Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]
    network: NetworkSettings
    plan: Plan
    fingerprint: Fingerprint
    manifest: Manifest
    training: Sequence[Case]
    held_out: Sequence[Case]
    validation: Sequence[Case]
    tta_flips: tuple[int, ...]
    seed: int
    notes: tuple[str, ...]
    members: tuple[Member, ...] = ()
    scored_on: str = Split.VALIDATION.value


def make_package(
    folder: Path,
    trained: Trained,
    cache: PreparedCache,
    rule: OperatingRule,
    logits: NDArray[np.float32] | None = None,
    look: Look | None = None,
) -> ModelPackage:
    """Calibrate on validation, measure the scope, and write the package.

    Parameters
    ----------
    logits : ndarray of float32, shape (cases, outputs), optional
        Of ``trained.validation``, out of fold. By default those of the engine that predictions will come from, so that
        the frozen threshold fits them.
    look : callable, optional
        Is shown the logits of the validation cases, their calibration and the operating points.

    Raises
    ------
    PackageError
        If a weight is not finite.
    """
    draft = folder.with_name(f"{folder.name}.draft")
    package = _save(draft, trained, (), (), _card(trained, ()))
    answer = answers_of(package, trained.held_out, cache)
    if logits is None:
        assert trained.held_out == trained.validation
        logits = answer.logits
    seen = sampled(trained.training, SAMPLED_FEATURES)
    features = _named(trained.held_out, answer) | _named(seen, answers_of(package, seen, cache, "compare features"))
    shutil.rmtree(draft)
    scope = make_reference(trained.training, trained.held_out, features, cache)
    calibration, points = calibrate(trained, logits, rule)
    if look is not None:
        look(logits, calibration, points)
    report = evaluate(
        trained.manifest.findings,
        trained.validation,
        logits,
        calibration,
        points,
        EvaluationSettings(subgroups=()),
        model="",
        manifest=trained.manifest.digest,
        split=Split.VALIDATION,
        engine="torch",
        acknowledged_leaks=trained.manifest.acknowledged_leaks,
    )
    scores = tuple(
        FindingScores(finding=entry.finding, split=trained.scored_on, scores=entry.scores) for entry in report.findings
    )
    return _save(folder, trained, calibration, points, _card(trained, scores, scope), scope)


def calibrate(
    trained: Trained, logits: NDArray[np.float32], rule: OperatingRule
) -> tuple[tuple[Calibration, ...], tuple[OperatingPoint, ...]]:
    """Temperature of each finding and, of binary ones, the operating point; logits (cases, outputs) of validation."""
    findings = trained.manifest.findings
    labels = encode_labels(trained.validation, findings)
    calibration: list[Calibration] = []
    points: list[OperatingPoint] = []
    for finding, outputs, columns in zip(findings, output_slices(findings), label_slices(findings), strict=True):
        fitted = fit_temperature(finding, logits[:, outputs], labels[:, columns])
        chances = class_probabilities(finding, logits[:, outputs], fitted.temperature)
        point = choose(finding, chances, labels[:, columns], rule)
        calibration.append(fitted)
        points += [point] if point is not None else []
    return tuple(calibration), tuple(points)


def logits_of(package: ModelPackage, cases: Sequence[Case], cache: PreparedCache) -> NDArray[np.float32]:
    """Logits (cases, outputs) of prepared cases, by the engine that is the reference."""
    return answers_of(package, cases, cache).logits


def answers_of(package: ModelPackage, cases: Sequence[Case], cache: PreparedCache, doing: str = "validate") -> Answer:
    """Logits and features of prepared cases, at least one, by the engine that is the reference."""
    engine = TorchConfig().build(package)
    images = (np.asarray(cache.load(case))[np.newaxis] for case in track(cases, doing, len(cases)))
    answers = [engine.answer(image) for image in images]
    return Answer(*(np.concatenate(rows) for rows in zip(*answers, strict=True)))


def _named(cases: Sequence[Case], answer: Answer) -> dict[str, NDArray[np.float32]]:
    return {case.case: row for case, row in zip(cases, answer.features, strict=True)}


def _save(
    folder: Path,
    trained: Trained,
    calibration: Sequence[Calibration],
    points: Sequence[OperatingPoint],
    card: ModelCard,
    scope: ScopeReference | None = None,
) -> ModelPackage:
    return save_package(
        folder,
        classifier_state=trained.state,
        network=trained.network,
        plan=trained.plan,
        fingerprint=trained.fingerprint,
        findings=trained.manifest.findings,
        calibration=calibration,
        operating_points=points,
        manifest_digest=trained.manifest.digest,
        card=card,
        tta_flips=trained.tta_flips,
        scope=scope,
    )


def _card(trained: Trained, scores: tuple[FindingScores, ...], scope: ScopeReference | None = None) -> ModelCard:
    manifest = trained.manifest
    splits = {split: manifest.of(split) for split in Split}
    data = TrainingData(
        manifest=manifest.digest,
        modality=trained.plan.modality,
        cases={split.value: len(cases) for split, cases in splits.items()},
        patients={split.value: len({case.patient for case in cases}) for split, cases in splits.items()},
        labels={
            split.value: {finding.name: class_counts(cases, finding) for finding in manifest.findings}
            for split, cases in splits.items()
        },
        covariates=_covariates(splits[Split.TRAIN]),
    )
    return ModelCard(
        name=trained.name,
        intended_use=trained.intended_use or "None was stated by whoever trained it.",
        data=data,
        findings=manifest.findings,
        scores=scores,
        limits=("Not a medical device; not for clinical use without validation on site.", VALIDATION_LIMIT),
        versions=versions(),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seed=trained.seed,
        acknowledged_leaks=manifest.acknowledged_leaks,
        notes=trained.notes,
        members=trained.members,
        scope=("Scans are not compared with the training cases: too few.",) if scope is None else scope.lines,
    )


def class_counts(cases: Sequence[Case], finding: Finding) -> dict[str, int]:
    """Count the cases that have each class."""
    rows = encode_labels(cases, [finding])
    if finding.kind is FindingKind.MULTILABEL:
        return dict(zip(finding.classes, (rows == 1).sum(axis=0).tolist(), strict=True))
    known = rows[rows != UNKNOWN]
    return dict(zip(finding.classes, np.bincount(known, minlength=len(finding.classes)).tolist(), strict=True))


def _covariates(cases: Sequence[Case]) -> dict[str, dict[str, int]]:
    found = {name: Counter(case.covariates.get(name, "") for case in cases) for name in COVARIATES}
    return {name: dict(counts.most_common()) for name, counts in found.items() if set(counts) != {""}}
