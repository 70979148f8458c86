"""``resdx depth-study``: residual and plain networks of several depths, trained alike; which depth is enough."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

from pipeline import atomic
from pipeline.backbones.resnet import Config as BackboneConfig
from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.cohort.thumbnails import kept_thumbnails
from pipeline.data.datamodule import CaseDataModule
from pipeline.domain.case import Split
from pipeline.domain.encoding import encode_labels
from pipeline.domain.frozen import digest
from pipeline.domain.journal import Journal
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan
from pipeline.domain.rejection import Rejection
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, TrainingError
from pipeline.networks.classifier import Classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.preprocessing.cache import PreparedCache
from pipeline.stages.depth_study_settings import OWN, Config
from pipeline.stages.outcome import Outcome
from pipeline.stages.preparation import Read, check_manifest, decide_plan, fill_cache, save_rejections
from pipeline.stages.stopping import stopping_on_sigterm
from pipeline.tracking.live import tracked
from pipeline.training.losses import check_learnable
from pipeline.training.run_folder import alone, claim, worded
from pipeline.training.study.costs import measure_costs
from pipeline.training.study.journal import OfNetwork
from pipeline.training.study.loop import train_network
from pipeline.training.study.recommendation import recommend, standings
from pipeline.training.study.record import Record, Shape
from pipeline.training.study.report import closing_lines, write_study
from pipeline.training.study.results import Study
from pipeline.training.study.validation import scored

log = logging.getLogger("resdx")

NETWORKS = "networks"
RECORD = "network.json"

FREE = frozenset(
    {
        *("tracking", "cache", "processes", "seconds_per_case", "memory_bytes", "data.workers", "manifest", "out"),
        *("depths", "twins", "norms", "seeds", "resamples"),
    }
)
"""Settings that may differ when a study goes on: where it runs, and which networks it has."""


@dataclass(frozen=True)
class Prepared:
    """Training and validation cases, ready to be loaded; those that could not be read are rejections."""

    plan: Plan
    cache: PreparedCache
    rejections: tuple[Rejection, ...]
    batch_size: int


def run(config: Config) -> Outcome:
    """Train what is not trained yet, and write the study; exit status 3 if some cases could not be read.

    Raises
    ------
    ManifestError, PlanError, TrainingError
        See the messages.
    LeakError
        The same or nearly the same pixels, or a patient, stand in two splits.
    UsageError
        The folder is in use or holds a study of other settings.
    StoppedBySignal
        SIGTERM arrived; the same command goes on.
    """
    manifest = load_manifest(config.manifest)
    check_manifest(manifest, kept_thumbnails(config.manifest, manifest))
    reader = CaseReader(load_files(config.manifest), config.read)
    with stopping_on_sigterm(), alone(config.out):
        return study(config, manifest, reader.read)


def study(config: Config, manifest: Manifest, read: Read) -> Outcome:
    """Study a manifest whose scans `read` reads; see :func:`run`."""
    claim(config.out, config, {"manifest digest": manifest.digest}, free=FREE, resume=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    deepest = config.backbone.model_copy(update={"depth": max(shape.depth for shape in config.shapes)})
    _, plan = decide_plan(config.out, manifest, read, config.plan, NetworkSettings(backbone=deepest))
    cache, rejections = fill_cache(config.cache or config.out / "cache", plan, manifest, read, config)
    save_rejections(config.out, rejections)
    prepared = Prepared(plan, cache, rejections, config.course.batch_size or plan.batch_size)
    with tracked(config.out, config.tracking) as journal:
        journal.tags({"resdx.manifest": manifest.digest, "resdx.plan": digest(plan)})
        records = tuple(train_networks(config, manifest, prepared, journal))
        made = summarise(config, manifest, prepared, records)
        journal.params(made.settings)
        for path in write_study(config.out, made):
            journal.artifact(path, "study")
    exit_code = EXIT_SOME_REJECTED if rejections else EXIT_OK
    return Outcome(lines=tuple(closing_lines(config.out, made)), exit_code=exit_code)


def summarise(config: Config, manifest: Manifest, prepared: Prepared, records: tuple[Record, ...]) -> Study:
    """Measure what the networks cost, and recommend a depth."""
    plan = prepared.plan
    backbones = {shape: resolved(config, shape, plan) for shape in config.shapes}
    costs = measure_costs(backbones, manifest.findings, (plan.channels, *plan.size), prepared.batch_size)
    shared = {
        "backbone": config.backbone.model_dump(mode="json", exclude=set(OWN)),
        "course": config.course.model_dump(mode="json"),
        "input": {"size": plan.size, "channels": plan.channels, "batch_size": prepared.batch_size},
        "data": config.data.model_dump(mode="json"),
    }
    return Study(
        manifest=manifest.digest,
        settings=worded(shared),
        records=records,
        costs=costs,
        standings=standings(records),
        recommendation=recommend(records, costs),
    )


def resolved(config: Config, shape: Shape, plan: Plan) -> BackboneConfig:
    """Decide every ``auto`` of one network."""
    return config.backbone_of(shape).resolved(plan.depth, plan.size, plan.spacing)


def train_networks(config: Config, manifest: Manifest, prepared: Prepared, journal: Journal) -> Iterator[Record]:
    """Train every network of every seed that has not been; those that have are read."""
    wanted = [(shape, seed) for seed in config.seeds for shape in config.shapes]
    began, layers_done = time.monotonic(), 0
    for number, (shape, seed) in enumerate(wanted, start=1):
        folder = folder_of(config, shape, seed)
        title = f"{shape.title}, seed {seed} ({number} of {len(wanted)})"
        if is_done(config, shape, seed):
            yield load_record(folder / RECORD)
            continue
        yield train_one(config, manifest, prepared, shape, seed, OfNetwork(journal, folder.name), title)
        layers_done += shape.depth
        rest = [other for other, its_seed in wanted[number:] if not is_done(config, other, its_seed)]
        minutes = (time.monotonic() - began) / layers_done * sum(other.depth for other in rest) / 60
        log.info("%s is trained; %d networks left, about %.0f min", title, len(rest), minutes)


def folder_of(config: Config, shape: Shape, seed: int) -> Path:
    """Where one network's record and journal stand."""
    return config.out / NETWORKS / f"{shape.name}-seed{seed}"


def is_done(config: Config, shape: Shape, seed: int) -> bool:
    """Whether a network is trained."""
    return (folder_of(config, shape, seed) / RECORD).is_file()


def load_record(path: Path) -> Record:
    """Read the record of a trained network.

    Raises
    ------
    TrainingError
        The file is damaged.
    """
    try:
        return Record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise TrainingError(
            f"{path} is damaged: {error.errors()[0]['msg']}.", "Remove its folder; the network is trained again."
        ) from error


def train_one(
    config: Config, manifest: Manifest, prepared: Prepared, shape: Shape, seed: int, journal: Journal, title: str
) -> Record:
    """Train one network and keep its record; interrupted, it begins again from its first step."""
    plan = prepared.plan
    data = CaseDataModule(
        manifest,
        prepared.cache,
        config.data,
        batch_size=prepared.batch_size,
        seed=seed,
        excluded=[rejection.path for rejection in prepared.rejections],
    )
    check_learnable(manifest.findings, encode_labels(data.datasets[Split.TRAIN].cases, manifest.findings))
    backbone = resolved(config, shape, plan)
    torch.manual_seed(seed)
    classifier = Classifier(backbone.build(plan.ndim, plan.channels), manifest.findings)
    trained = train_network(classifier, data, config.course, seed=seed, journal=journal, title=title)
    record = scored(trained, shape, seed, data, manifest.findings, config.resamples)
    atomic.write_text(folder_of(config, shape, seed) / RECORD, record.model_dump_json(indent=1) + "\n")
    return record
