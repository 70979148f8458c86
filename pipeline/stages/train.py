"""``resdx train``: from a manifest to a calibrated, tracked model package; killed anywhere, it goes on."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.cohort.thumbnails import kept_thumbnails
from pipeline.data import resampling
from pipeline.data.datamodule import CaseDataModule
from pipeline.domain.case import Split
from pipeline.domain.encoding import encode_labels
from pipeline.domain.fingerprint import Fingerprint
from pipeline.domain.journal import Journal, NullJournal
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan
from pipeline.domain.rejection import Rejection
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, TrainingError
from pipeline.networks.classifier import build_classifier
from pipeline.networks.settings import NetworkSettings
from pipeline.package.package import ModelPackage
from pipeline.preprocessing.cache import PreparedCache
from pipeline.stages import first_weights
from pipeline.stages.members import asked_of_classes, train_members
from pipeline.stages.mirrored_sides import mirrored_sides
from pipeline.stages.outcome import Outcome
from pipeline.stages.packaging import Trained, make_package
from pipeline.stages.preparation import Read, check_manifest, decide_plan, fill_cache, save_rejections
from pipeline.stages.run_record import record
from pipeline.stages.stopping import stopping_on_sigterm
from pipeline.stages.together import beating, several, wait_for_first
from pipeline.stages.train_settings import FREE, Config
from pipeline.stages.training_review import REVIEW, Reviewer, description
from pipeline.tracking.live import tracked
from pipeline.training.auxiliary import measures_beside
from pipeline.training.checkpoints import best_weights
from pipeline.training.finetuning import beginning as finetuning
from pipeline.training.finetuning.adapters import check_installed, merged
from pipeline.training.fitting import FITTED, WATCHED, Fitted, fit
from pipeline.training.losses import training_loss
from pipeline.training.missing_classes import check_classes
from pipeline.training.precision import PrecisionChoice, choose_precision
from pipeline.training.precision.table import save_table
from pipeline.training.ranks import rank_of
from pipeline.training.rate_finder.curve import RateCurve
from pipeline.training.rate_finder.settling import settle_rate
from pipeline.training.rate_finder.sweep import find_rate
from pipeline.training.review.inputs import InputSample
from pipeline.training.run_folder import CHECKPOINTS, alone, claim, once
from pipeline.training.search.watching import Watch, Watched
from pipeline.training.settings import TrainingSettings
from pipeline.training.turns import check_turnable
from pipeline.training.watch import overfitting_words as overfitting

log = logging.getLogger("resdx")

PACKAGE = "package"
PRECISION = "precision.json"


@dataclass(frozen=True)
class Experiment:
    """What a run is made of before its first step."""

    manifest: Manifest
    fingerprint: Fingerprint
    plan: Plan
    network: NetworkSettings
    cache: PreparedCache
    rejections: tuple[Rejection, ...]
    data: CaseDataModule


def run(config: Config) -> Outcome:
    """Train; exit status 3 if some cases could not be read.

    Raises
    ------
    ManifestError, PlanError, TrainingError, PretrainedError
        See the messages.
    LeakError
        The same or nearly the same pixels, or a patient, stand in two splits.
    UsageError
        The run folder is in use or holds another run.
    StoppedBySignal
        SIGTERM arrived; the same command goes on.
    """
    manifest = load_manifest(config.manifest)
    reader = CaseReader(load_files(config.manifest), config.read)
    with stopping_on_sigterm():
        if rank_of():
            return follow(config, manifest, reader.read)
        for line in mirrored_sides(manifest.findings, config.data.augmentation, config.tta_flips):
            log.warning("%s", line)
        with alone(config.out):
            return train(config, manifest, reader.read)


def train(config: Config, manifest: Manifest, read: Read, watch: Watch | None = None) -> Outcome:
    """Train on a manifest whose scans `read` reads, shown to `watch` epoch by epoch; see :func:`run`."""
    if config.folds or config.seeds:
        return train_members(config, manifest, read, train, FREE)
    check_installed(config.training.finetune.lora)
    check_manifest(manifest, kept_thumbnails(config.manifest, manifest))
    training, validation = manifest.of(Split.TRAIN), manifest.of(Split.VALIDATION)
    check_classes(manifest.findings, training, validation, **asked_of_classes(config))
    measures_beside(config.training.auxiliary, training)
    facts = {"manifest digest": manifest.digest} | first_weights.facts(config.pretrained)
    facts |= resampling.facts(config.data.augmentation)
    claim(config.out, config, facts, free=FREE, resume=config.resume)
    if config.threads:
        torch.set_num_threads(config.threads)
    with (
        beating(config.out, wanted=several(config.training)) as ready,
        tracked(config.out, config.tracking) as journal,
    ):
        experiment = prepare(config, manifest, read)
        record(config, manifest, experiment.plan, experiment.network, len(experiment.rejections), journal)
        watched = Watched(journal, watch) if watch else journal
        fitted, trained_how = fit_network(config, experiment, watched, ready)
        reviewer = review_of(config, experiment)
        package = pack(config, experiment, fitted, trained_how, reviewer)
        reviewer.record(journal, fitted)
        gap = about_overfitting(config, experiment, fitted)
        journal.describe(description(fitted, package, (*fitted.warnings, *gap)))
        overfitting.keep(gap, config.out / WATCHED, journal)
        journal.artifact(config.out / CHECKPOINTS / FITTED, "training")
        tracking = config.tracking
        journal.model(package.folder, package.digest, name=tracking.registered_model, alias=tracking.alias)
        journal.metrics({f"best/{name}": value for name, value in fitted.best.items()}, step=fitted.best_epoch)
    exit_code = EXIT_SOME_REJECTED if experiment.rejections else EXIT_OK
    return Outcome(lines=tuple(describe(config, experiment, fitted, package)), exit_code=exit_code)


def follow(config: Config, manifest: Manifest, read: Read) -> Outcome:
    """Train beside the first process, on the plan and the precision that it decides."""
    wait_for_first(config.out)
    if config.threads:
        torch.set_num_threads(config.threads)
    fit_network(config, prepare(config, manifest, read), NullJournal())
    return Outcome()


def prepare(config: Config, manifest: Manifest, read: Read) -> Experiment:
    """Measure, plan and prepare; a run that goes on keeps the plan it began with."""
    fingerprint, plan = decide_plan(config.out, manifest, read, config.plan, config.network)
    check_axes(config, plan)
    network = config.network.resolved(plan.depth, plan.size, plan.spacing)
    first_weights.check(config.pretrained, network, manifest.findings, plan)
    finetuning.check(config.training.finetune, network, manifest.findings, plan.ndim, plan.channels)
    cache, rejections = fill_cache(config.cache or config.out / "cache", plan, manifest, read, config)
    if not rank_of():
        save_rejections(config.out, rejections)
    return Experiment(
        manifest=manifest,
        fingerprint=fingerprint,
        plan=plan,
        network=network,
        cache=cache,
        rejections=rejections,
        data=CaseDataModule(
            manifest,
            cache,
            config.data,
            batch_size=plan.batch_size,
            seed=config.seed,
            excluded=[rejection.path for rejection in rejections],
        ),
    )


def check_axes(config: Config, plan: Plan) -> None:
    """Refuse to mirror along an axis that images do not have: nothing would be, and the card would say it was.

    Raises
    ------
    TrainingError
    """
    given = {"data.augmentation.flip_axes": config.data.augmentation.flip_axes or (), "tta_flips": config.tta_flips}
    for name, axes in given.items():
        if absent := [axis for axis in axes if axis >= plan.ndim]:
            raise TrainingError(
                f"{name}: images of {plan.ndim} dimensions have no axis {', '.join(map(str, absent))}.",
                f"Name axes from 0 to {plan.ndim - 1}, and give another `out`.",
            )


def fit_network(
    config: Config, experiment: Experiment, journal: Journal, ready: Callable[[], None] = lambda: None
) -> tuple[Fitted, tuple[str, ...]]:
    """Build the network, prove its precision, train it; also returns what its card says of that.

    `ready` is called when the other processes of a training have all that they need to join.
    """
    findings, plan, data = experiment.manifest.findings, experiment.plan, experiment.data
    labels = {split: encode_labels(data.datasets[split].cases, findings) for split in Split}
    for split in (Split.TRAIN, Split.VALIDATION):
        if not len(labels[split]):
            raise TrainingError(f"No {split.value} case could be read.", "rejections.csv in the run folder says why.")
    check_turnable(config.training.auxiliary, plan, data.augmentation.flip_axes)
    measures = measures_beside(config.training.auxiliary, data.datasets[Split.TRAIN].cases)
    torch.manual_seed(config.seed)
    classifier = build_classifier(experiment.network, findings, plan.ndim, plan.channels)
    first_weights.load(config.pretrained, classifier, experiment.network, config.out, journal)
    tuned = finetuning.begin(classifier, config.training.finetune, config.training.epochs)
    journal.params({"trainable": tuned[0]} if tuned else {})

    loss = training_loss(findings, labels[Split.TRAIN], config.training, data.visits)

    def find() -> RateCurve:
        loader, device = data.train_dataloader(), device_of(config.training)
        return find_rate(classifier, loss, loader, config.training, device=device, seed=config.seed)

    # before the precision is chosen, for whose file the other processes wait
    training, found = settle_rate(config.training, config.out, journal, find)

    def choose() -> PrecisionChoice:
        batch = next(iter(data.train_dataloader()))
        return choose_precision(
            plan.precision,
            config.training.memory_format,
            classifier,
            loss,
            batch.image,
            batch.label,
            device_of(config.training),
            config.out,
            try_compiled=config.training.compile == "auto",
        )

    precision = once(config.out / PRECISION, PrecisionChoice, choose)
    ready()
    journal.params({"precision": precision.precision, "layout": precision.layout, "compiled": precision.compiled})
    journal.params({"kept in float32": " ".join(precision.kept)} if precision.kept else {})
    for path in (config.out / PRECISION, save_table(config.out, precision)):
        journal.artifact(path, "experiment")
    fitted = fit(
        classifier,
        data,
        training,
        labels=labels,
        folder=config.out,
        precision=precision,
        journal=journal,
        seed=config.seed,
        beside=[InputSample(config.out / REVIEW, journal)] if config.tracking.sample_images else [],
        measures=measures,
    )
    return fitted, (*tuned, *found, *learned_beside(training), precision.note)


def learned_beside(settings: TrainingSettings) -> tuple[str, ...]:
    """Say in lines of the card what the network learned beside the findings, if anything."""
    learned = settings.auxiliary
    told = [f"at a weight of {learned.weight:g}: {', '.join(learned.covariates)}"] if learned.covariates else []
    told += [f"at a weight of {learned.turns:g}: by how many quarters each image was turned"] if learned.turns else []
    return tuple(f"Learned beside the findings, {one}." for one in told)


def device_of(settings: TrainingSettings) -> torch.device:
    """Where training will run."""
    cuda = settings.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if cuda else "cpu")


def review_of(config: Config, experiment: Experiment) -> Reviewer:
    """Prepare what is shown of the finished model on validation."""
    cases = experiment.data.datasets[Split.VALIDATION].cases
    return Reviewer(experiment.manifest.findings, cases, experiment.cache, config.out, config.tracking.sample_images)


def pack(
    config: Config, experiment: Experiment, fitted: Fitted, trained_how: tuple[str, ...], reviewer: Reviewer
) -> ModelPackage:
    """Make the package of the best epoch; what is said of its training stands in its card."""
    notes = (
        f"{fitted.choice}.",
        *trained_how,
        *first_weights.notes(config.out),
        *mirrored_sides(experiment.manifest.findings, config.data.augmentation, config.tta_flips),
        *fitted.warnings,
        *about_overfitting(config, experiment, fitted),
    )
    trained = Trained(
        name=config.name or config.out.resolve().name,
        intended_use=config.intended_use,
        state=merged(best_weights(config.out / CHECKPOINTS, fitted.best_epoch), config.training.finetune.lora),
        network=experiment.network,
        plan=experiment.plan,
        fingerprint=experiment.fingerprint,
        manifest=experiment.manifest,
        training=experiment.data.datasets[Split.TRAIN].cases,
        held_out=experiment.data.datasets[Split.VALIDATION].cases,
        validation=experiment.data.datasets[Split.VALIDATION].cases,
        tta_flips=config.tta_flips,
        seed=config.seed,
        notes=notes,
    )
    return make_package(config.out / PACKAGE, trained, experiment.cache, config.operating_point, look=reviewer.look)


def about_overfitting(config: Config, experiment: Experiment, fitted: Fitted) -> tuple[str, ...]:
    """Say how far training and validation are apart, and what stood against it; nothing where it was not measured."""
    against = overfitting.what_stood_against(
        experiment.plan, experiment.network, experiment.data.augmentation, config.training
    )
    counts = {split: len(experiment.data.datasets[split]) for split in (Split.TRAIN, Split.VALIDATION)}
    sampled = config.training.overfitting_watch.sample_size(counts[Split.TRAIN])
    cases = f"{sampled} of {counts[Split.TRAIN]} training and {counts[Split.VALIDATION]} validation cases"
    return overfitting.overfitting_words(fitted.history, fitted.best_epoch, cases, against)


def describe(config: Config, experiment: Experiment, fitted: Fitted, package: ModelPackage) -> Iterator[str]:
    """Yield the closing lines."""
    best = ", ".join(f"{name} {fitted.best[name]:.4f}" for name in ("val/auroc", "val/loss") if name in fitted.best)
    ended = "stopped early after" if fitted.stopped_early else "after"
    kept = "Last" if fitted.monitor == "last" else "Best"
    yield f"{kept} epoch {fitted.best_epoch}, {ended} {len(fitted.history)} epochs: {best}."
    yield from fitted.warnings
    yield from about_overfitting(config, experiment, fitted)
    for entry in package.calibration:
        yield f"{entry.finding}: temperature {entry.temperature:.3f}{f' ({entry.note})' if entry.note else ''}."
    for point in package.operating_points:
        yield f"{point.finding}: positive from probability {point.threshold:.4f} on ({point.rule})."
    if experiment.rejections:
        yield f"{len(experiment.rejections)} cases could not be read: {config.out / 'rejections.csv'}"
    yield f"Model package: {package.folder} ({package.digest[:12]})"
    report = config.out / "report"
    yield f"Next: resdx evaluate {package.folder} --manifest {config.manifest} --out {report}"
