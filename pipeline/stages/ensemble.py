"""From trained members to one package: out-of-fold logits, calibration, and a card that names every member."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.case import Case, Split
from pipeline.domain.fingerprint import Fingerprint
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan
from pipeline.domain.score import Score
from pipeline.errors import TrainingError
from pipeline.package.card import Member, spread_rows
from pipeline.package.package import ModelPackage, load_package
from pipeline.preprocessing.cache import PreparedCache
from pipeline.stages.packaging import Trained, logits_of, make_package
from pipeline.stages.train_settings import Config
from pipeline.stages.training_review import Reviewer

log = logging.getLogger("resdx")

HEADLINES = ("auroc", "macro_auroc")
"""The one score that a finding is known by; see :mod:`pipeline.evaluation.headline`."""

OUT_OF_FOLD = "out of fold"
"""What the card calls the cases of all folds, each answered by the members that did not train on it."""


@dataclass(frozen=True)
class MemberRun:
    """One network to train.

    Attributes
    ----------
    fold : int or None
        From 1; None where all members train on the training split.
    manifest : Manifest
        Its training and validation splits.
    folder : Path
        Its run folder.
    number : int
        From 1, its place in the record; seeds that are added later do not change it.
    """

    name: str
    seed: int
    fold: int | None
    manifest: Manifest
    folder: Path
    number: int

    @property
    def package(self) -> ModelPackage:
        """Its own package."""
        return load_package(self.folder / "package")


@dataclass(frozen=True)
class Ensemble:
    """Trained members and what they share.

    Attributes
    ----------
    refused : frozenset of str
        Pseudonyms of cases that could not be read.
    """

    manifest: Manifest
    members: tuple[MemberRun, ...]
    fingerprint: Fingerprint
    plan: Plan
    refused: frozenset[str]

    def held_out(self, member: MemberRun) -> tuple[Case, ...]:
        """Readable validation cases of a member."""
        return tuple(case for case in member.manifest.of(Split.VALIDATION) if case.case not in self.refused)

    @property
    def training(self) -> tuple[Case, ...]:
        """Readable cases of the training split."""
        return tuple(case for case in self.manifest.of(Split.TRAIN) if case.case not in self.refused)

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the folds; empty where there are none."""
        return tuple(sorted({member.fold for member in self.members if member.fold is not None}))


def pack_ensemble(
    folder: Path, ensemble: Ensemble, config: Config, cache: PreparedCache
) -> tuple[ModelPackage, Reviewer]:
    """Make the package of all members, and the review of what it says of the cases that it is scored on.

    With folds, temperature and operating point are fitted to the logits of each case by the members that did not train
    on it; otherwise to the mean logits of the validation split.

    Raises
    ------
    PackageError
        A member's package is damaged.
    TrainingError
        The members are not of one network.
    """
    packages = [member.package for member in ensemble.members]
    if len({package.network.model_dump_json() for package in packages}) > 1:
        raise TrainingError("The members are not of one network.", "Train them again in another folder.")
    held_out = ensemble.held_out(ensemble.members[0])
    training, cases, logits = ensemble.training, held_out, None
    if ensemble.folds:
        cases, logits = out_of_fold(ensemble, packages, cache)
        unseen = {case.case for case in held_out}
        training = tuple(case for case in cases if case.case not in unseen)
    trained = Trained(
        name=config.name or config.out.resolve().name,
        intended_use=config.intended_use,
        state=[package.build_classifier().state_dict() for package in packages],
        network=packages[0].network,
        plan=ensemble.plan,
        fingerprint=ensemble.fingerprint,
        manifest=ensemble.manifest,
        training=training,
        held_out=held_out,
        validation=cases,
        tta_flips=config.tta_flips,
        seed=config.seed,
        notes=(
            *words(ensemble),
            *notes_of(
                {member.name: package.card.notes for member, package in zip(ensemble.members, packages, strict=True)}
            ),
        ),
        members=tuple(map(score_member, ensemble.members)),
        scored_on=OUT_OF_FOLD if ensemble.folds else Split.VALIDATION.value,
    )
    reviewer = Reviewer(ensemble.manifest.findings, cases, cache, config.out, config.tracking.sample_images)
    return make_package(folder, trained, cache, config.operating_point, logits, look=reviewer.look), reviewer


def out_of_fold(
    ensemble: Ensemble, packages: Sequence[ModelPackage], cache: PreparedCache
) -> tuple[tuple[Case, ...], NDArray[np.float32]]:
    """Cases of all folds and their logits (cases, outputs): the mean of the members that did not train on them."""
    cases: list[Case] = []
    rows: list[NDArray[np.float64]] = []
    for fold in ensemble.folds:
        asked = [
            (member, package) for member, package in zip(ensemble.members, packages, strict=True) if member.fold == fold
        ]
        held_out = ensemble.held_out(asked[0][0])
        answers = [logits_of(package, held_out, cache) for _, package in asked if held_out]
        if answers:
            cases += held_out
            rows.append(np.stack(answers).mean(axis=0, dtype=np.float64))
    return tuple(cases), np.concatenate(rows).astype(np.float32)


def score_member(run: MemberRun) -> Member:
    """Take a member's one score of each finding from the card of its own package."""
    package = run.package
    card = package.card
    found = {entry.finding: score for entry in card.scores for score in entry.scores if score.metric in HEADLINES}
    missing = Score(metric=HEADLINES[0], value=None, low=None, high=None, method="none", cases=0, patients=0)
    return Member(
        name=run.name,
        seed=run.seed,
        fold=run.fold,
        model=package.digest,
        cases=max((score.cases for score in found.values()), default=0),
        scores={finding.name: found.get(finding.name, missing) for finding in card.findings},
    )


def words(ensemble: Ensemble) -> Iterator[str]:
    """Yield what the card says of how the members came about."""
    seeds = sorted({member.seed for member in ensemble.members})
    said = f"{len(ensemble.members)} networks of one plan, seeds {', '.join(map(str, seeds))}"
    if not ensemble.folds:
        yield f"{said}; all trained on the training split. Their logits are averaged."
        return
    dealt = [case for member in ensemble.members for case in member.manifest.of(Split.VALIDATION)]
    cases, patients = ({getattr(case, name) for case in dealt} for name in ("case", "patient"))
    yield (
        f"{said}, {len(ensemble.folds)} folds; their logits are averaged. The folds were dealt over the "
        f"{len(cases)} cases of {len(patients)} patients of the training and validation splits; no patient, and no "
        "images that are the same or nearly so, stand in two of them."
    )
    yield (
        "Temperature, operating point and scores are out of fold: each case was answered by the members that did not "
        "train on it. A prediction averages all members, so its probabilities may be less extreme than the "
        "frequencies. Only the test split is new to every member."
    )


def notes_of(notes: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield notes of the members' cards: the best epoch of each, then the others, with names where not all say them."""
    for name, own in notes.items():
        yield f"{name}: {own[0]}"
    for note in dict.fromkeys(note for own in notes.values() for note in own[1:]):
        by = [name for name, own in notes.items() if note in own[1:]]
        yield note if len(by) == len(notes) else f"{', '.join(by)}: {note}"


def closing_lines(package: ModelPackage) -> Iterator[str]:
    """Yield what the command says at the end."""
    card = package.card
    for entry in card.scores:
        column = [member.scores[entry.finding].value for member in card.members]
        mean, deviation, span = (row[-1] for row in spread_rows([column]))
        metric = card.members[0].scores[entry.finding].metric
        together = next((score.value for score in entry.scores if score.metric == metric), None)
        shown = "not defined" if together is None else f"{together:.3f}"
        scored = sum(value is not None for value in column)
        members = f"{scored} of {len(column)} members" if scored < len(column) else f"{scored} members"
        yield (
            f"{entry.finding}, {metric} of {members}: mean {mean}, standard deviation {deviation}, "
            f"{span}; {'together' if entry.split != OUT_OF_FOLD else 'all folds together'} {shown}."
        )
    for point in package.operating_points:
        yield f"{point.finding}: positive from probability {point.threshold:.4f} on ({point.rule})."
    yield f"Ensemble of {package.members}: {package.folder} ({package.digest[:12]})"
