"""Folds and repeated seeds of ``resdx train``: one whole run a member, and the ensemble of them all.

Each member is a run folder of its own below ``members`` (journal, checkpoints, package), so that a run killed anywhere
goes on in the member it was in and finished members are kept. All members share one plan and one cache of prepared
cases. With folds the plan is made from the training and the validation cases together, as each of them trains most
members: a plan rests on sizes, spacings, intensities and counts, so a fold that is held out lends its member pooled
percentiles of its voxels and no label (as in nnU-Net). The test split is read by nothing here.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline import atomic
from pipeline.cohort.folds import Folds, deal_folds, pooled
from pipeline.cohort.near_copies import Thumbnails
from pipeline.cohort.thumbnails import kept_thumbnails
from pipeline.domain.case import Split
from pipeline.domain.fingerprint import Fingerprint
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, TrainingError
from pipeline.preprocessing.fingerprint import measure
from pipeline.stages import first_weights
from pipeline.stages.ensemble import Ensemble, MemberRun, closing_lines, pack_ensemble, score_member
from pipeline.stages.ensemble_record import description, metrics_of, metrics_of_whole
from pipeline.stages.outcome import Outcome
from pipeline.stages.preparation import Read, check_manifest, decide_plan, fill_cache, save_rejections
from pipeline.stages.run_record import DECIDED, record
from pipeline.stages.train_settings import Config
from pipeline.tracking.journal import journal_path, read_journal
from pipeline.tracking.live import tracked
from pipeline.tracking.records import Ended
from pipeline.training.auxiliary import measures_beside
from pipeline.training.missing_classes import AUROC_ASKED, check_classes
from pipeline.training.run_folder import alone, claim, once

log = logging.getLogger("resdx")

MEMBERS = "members"
PACKAGE = "package"
FOLDS = "folds.json"

TrainOne = Callable[[Config, Manifest, Read], object]


@dataclass(frozen=True)
class Begun:
    """What members are made of: the manifest as it came, its folds, and the manifest of each member."""

    manifest: Manifest
    folds: Folds | None
    members: tuple[MemberRun, ...]


def train_members(
    config: Config,
    manifest: Manifest,
    read: Read,
    train_one: TrainOne,
    free: frozenset[str],
) -> Outcome:
    """Train every member that is not trained yet, and pack the ensemble.

    Parameters
    ----------
    train_one : callable
        Trains one network by its settings, in its folder.
    free : frozenset of str
        Settings that may differ when the run goes on.

    Raises
    ------
    TrainingError
        Too few patients for the folds, or a fold leaves nothing to learn.
    LeakError, UsageError, StoppedBySignal
        As for one network.
    """
    begun = begin(config, manifest, kept_thumbnails(config.manifest, manifest), free)
    with tracked(config.out, config.tracking) as journal:
        fingerprint, plan = plan_for_all(config, begun, read)
        cache, rejections = fill_cache(config.cache or config.out / "cache", plan, manifest, read, config)
        save_rejections(config.out, rejections)
        network = config.network.resolved(plan.depth, plan.size, plan.spacing)
        record(config, manifest, plan, network, len(rejections), journal)
        check_members(config, begun.members, {rejection.path for rejection in rejections})
        for count, member in enumerate(begun.members, start=1):
            if not is_finished(member.folder):
                log.info("member %s, %d of %d", member.name, count, len(begun.members))
                train_member(config, member, read, train_one)
            journal.metrics(metrics_of([score_member(member)]), step=member.number)
        refused = {rejection.path for rejection in rejections}
        ensemble = Ensemble(manifest, begun.members, fingerprint, plan, frozenset(refused))
        package, reviewer = pack_ensemble(config.out / PACKAGE, ensemble, config, cache)
        reviewer.record(journal)
        journal.describe(description(package))
        tracking = config.tracking
        journal.model(package.folder, package.digest, name=tracking.registered_model, alias=tracking.alias)
        whole = metrics_of(package.card.members, summed=True) | metrics_of_whole(package)
        journal.metrics(whole, step=len(begun.members))
    lines = (*closing_lines(package), f"Next: resdx evaluate {package.folder} --manifest {config.manifest} --out ...")
    return Outcome(lines=lines, exit_code=EXIT_SOME_REJECTED if rejections else EXIT_OK)


def begin(config: Config, manifest: Manifest, thumbnails: Thumbnails | None, free: frozenset[str]) -> Begun:
    """Deal the folds, check what each member would train on, and claim the folder."""
    kept = config.out / FOLDS
    deal = partial(deal_folds, manifest, thumbnails, config.folds, config.seed)
    folds = (once(kept, Folds, deal) if kept.is_file() else deal()) if config.folds else None
    begun = Begun(manifest, folds, tuple(members_of(config, manifest, folds)))
    check_manifest(begun.members[0].manifest, thumbnails)
    check_members(config, begun.members)
    facts = {"manifest digest": manifest.digest, "members": "an ensemble"} | first_weights.facts(config.pretrained)
    claim(config.out, config, facts, free=free, resume=config.resume)
    if folds is not None:
        once(kept, Folds, lambda: folds)
    return begun


def check_members(config: Config, members: Iterable[MemberRun], refused: Collection[str] = ()) -> None:
    """Refuse members to whose part of the cases a class or a measurement is wanting, before the first of them trains.

    Parameters
    ----------
    refused : collection of str
        Cases that could not be read.

    Raises
    ------
    TrainingError
        Naming member, and finding and class or the measurement.
    """
    for member in members:
        training, validation = (
            [case for case in member.manifest.of(split) if case.case not in refused]
            for split in (Split.TRAIN, Split.VALIDATION)
        )
        try:
            check_classes(member.manifest.findings, training, validation, **asked_of_classes(config))
            measures_beside(config.training.auxiliary, training)
        except TrainingError as error:
            where = member.name if member.fold is None else f"{member.name} (validation is fold {member.fold})"
            raise TrainingError(f"{where}: {error.message}", error.remedy) from error


def asked_of_classes(config: Config) -> dict[str, str]:
    """Name the settings that need cases of each class, as :func:`check_classes` takes them."""
    return {"balance": config.data.balance, "auroc_for": AUROC_ASKED if config.training.monitor == "auroc" else ""}


def members_of(config: Config, manifest: Manifest, folds: Folds | None) -> Iterator[MemberRun]:
    """Yield every member: each seed of each fold."""
    numbers = range(1, len(folds.cases) + 1) if folds else (None,)
    for place, fold in enumerate(numbers, start=1):
        own = manifest if folds is None or fold is None else folds.manifest_of(manifest, fold)
        for turn, seed in enumerate(config.seeds or (config.seed,)):
            name = f"seed{seed}" if fold is None else f"fold{fold}-seed{seed}"
            number, folder = turn * len(numbers) + place, config.out / MEMBERS / name
            yield MemberRun(name=name, seed=seed, fold=fold, manifest=own, folder=folder, number=number)


def plan_for_all(config: Config, begun: Begun, read: Read) -> tuple[Fingerprint, Plan]:
    """Measure what the members train on, and decide the plan that all of them share."""
    measured = begun.manifest
    if begun.folds is not None:
        named = {case.case for case in pooled(begun.manifest)}
        cases = (
            case.model_copy(update={"split": Split.TRAIN}) if case.case in named else case
            for case in begun.manifest.cases
        )
        measured = begun.manifest.model_copy(update={"cases": tuple(cases)})

    def measure_once() -> Fingerprint:
        found = measure(measured, Split.TRAIN, read)
        return found.model_copy(update={"manifest": begun.manifest.digest})

    once(config.out / DECIDED[0], Fingerprint, measure_once)
    return decide_plan(config.out, begun.manifest, read, config.plan, config.network)


def train_member(config: Config, member: MemberRun, read: Read, train_one: TrainOne) -> None:
    """Train one member, or go on with it, on the plan of all."""
    for name in DECIDED:
        atomic.write_bytes(member.folder / name, (config.out / name).read_bytes())
    tracking = {"parent": str(config.out), "run_name": member.name, "registered_model": "", "alias": ""}
    changes: dict[str, Any] = {
        "out": member.folder,
        "name": f"{config.name or config.out.resolve().name} {member.name}",
        "seed": member.seed,
        "seeds": (),
        "folds": 0,
        "resume": True,
        "cache": config.cache or config.out / "cache",
        "tracking": config.tracking.model_copy(update=tracking),
    }
    with alone(member.folder):
        train_one(config.model_copy(update=changes), member.manifest, read)


def is_finished(folder: Path) -> bool:
    """Whether a member's package is made and its journal closed."""
    if not ((folder / PACKAGE).is_dir() and journal_path(folder).is_file()):
        return False
    last = read_journal(folder)[-1]
    return isinstance(last, Ended) and last.status == "FINISHED"
