"""What every verb that trains begins with: a manifest that may be trained on, a plan, and prepared cases."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipeline import atomic
from pipeline.cohort import leaks
from pipeline.cohort.near_copies import Thumbnails
from pipeline.domain.case import Case, Split
from pipeline.domain.fingerprint import Fingerprint
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan
from pipeline.domain.rejection import Rejection
from pipeline.domain.volume import Volume
from pipeline.errors import TrainingError
from pipeline.evaluation.table import rejection_table
from pipeline.networks.settings import NetworkSettings
from pipeline.networks.training_memory import memory_of
from pipeline.preprocessing.cache import PreparedCache
from pipeline.preprocessing.fingerprint import measure
from pipeline.preprocessing.planning import PlanSettings, make_plan
from pipeline.stages.worker_settings import WorkerSettings
from pipeline.training.run_folder import once

log = logging.getLogger("resdx")

Read = Callable[[Case], Volume]


def check_manifest(manifest: Manifest, thumbnails: Thumbnails | None) -> None:
    """Refuse what cannot be trained on, and leaks that nobody acknowledged.

    Raises
    ------
    TrainingError, LeakError
    """
    if not manifest.findings:
        raise TrainingError("The manifest has no finding to learn.", "Run `resdx ingest` with --labels.")
    for split in (Split.TRAIN, Split.VALIDATION):
        if not manifest.of(split):
            raise TrainingError(f"The manifest has no {split.value} case.", "Run `resdx ingest` with splits.")
    if manifest.acknowledged_leaks:
        log.warning("%d leaks between splits were acknowledged at ingest.", manifest.acknowledged_leaks)
    if thumbnails is None:
        log.warning("The manifest is of a version that kept no thumbnails: near copies are not looked for.")
    leaks.check(manifest.cases, thumbnails, acknowledged=manifest.acknowledged_leaks > 0)


def decide_plan(
    out: Path, manifest: Manifest, read: Read, settings: PlanSettings, network: NetworkSettings
) -> tuple[Fingerprint, Plan]:
    """Measure and plan for a network; a run folder that has fingerprint.json and plan.json keeps them."""
    fingerprint = once(out / "fingerprint.json", Fingerprint, partial(measure, manifest, Split.TRAIN, read))
    plan = partial(make_plan, fingerprint, settings, manifest.select, partial(memory_of, network))
    return fingerprint, once(out / "plan.json", Plan, plan)


def fill_cache(
    folder: Path, plan: Plan, manifest: Manifest, read: Read, workers: WorkerSettings
) -> tuple[PreparedCache, tuple[Rejection, ...]]:
    """Prepare the training and validation cases; those that cannot be read are refused, by pseudonym."""
    cache = PreparedCache(folder, plan, read)
    rejections = cache.fill(
        [case for case in manifest.cases if case.split in (Split.TRAIN, Split.VALIDATION)],
        processes=workers.worker_count,
        timeout_seconds=workers.seconds_per_case,
        memory_bytes=workers.memory_bytes,
    )
    return cache, rejections


def save_rejections(out: Path, rejections: tuple[Rejection, ...]) -> None:
    """Write which cases could not be read, and why."""
    atomic.write_text(out / "rejections.csv", rejection_table(rejections))
