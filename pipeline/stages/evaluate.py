"""``resdx evaluate``: scores a model package on one split of a manifest, with intervals, plots and a page."""

import logging
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline import __version__, atomic
from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.openings import Opening, describe_openings, record_opening
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.config import KindOf
from pipeline.domain.case import Case, Split
from pipeline.domain.codes import Code
from pipeline.domain.manifest import Manifest
from pipeline.domain.rejection import Rejection
from pipeline.domain.score import Report
from pipeline.engines.engine import Engine
from pipeline.engines.libraries import check_installed
from pipeline.engines.settings import EngineSettings
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, ManifestError, TrackingError
from pipeline.evaluation.html import render
from pipeline.evaluation.plots import save_plots
from pipeline.evaluation.report import evaluate, make_bootstrap
from pipeline.evaluation.samples import answers_of
from pipeline.evaluation.selection import cases_to_score, check_channels, check_findings
from pipeline.evaluation.settings import EvaluationSettings
from pipeline.evaluation.summary import flat_metrics, score_lines
from pipeline.evaluation.table import evaluated_table, rejection_table
from pipeline.package.package import ModelPackage, load_package
from pipeline.preprocessing.cache import PreparedCache
from pipeline.progress import track
from pipeline.readers.options import ReadOptions
from pipeline.stages.outcome import Outcome
from pipeline.stages.worker_settings import WorkerSettings
from pipeline.tracking.journal import FileJournal, journal_path, read_journal
from pipeline.tracking.locate import SCHEMES, resolve
from pipeline.tracking.records import Ended, Metrics
from pipeline.tracking.replay import replay
from pipeline.tracking.settings import Store, TrackingSettings, default_store, load_settings, save_settings

log = logging.getLogger("resdx")

PLOTS = ("roc", "precision_recall", "calibration")


class Config(EvaluationSettings, WorkerSettings):
    """Settings of ``resdx evaluate``."""

    model: str = Field(description="Package folder, training run folder, runs:/RUN/model or models:/NAME@ALIAS.")
    manifest: Path = Field(description="Manifest, the NAME.csv that `resdx ingest` wrote; another one is external.")
    out: Path = Field(description="Folder for report.json, report.html, evaluated.csv, rejections.csv and the plots.")
    split: Literal["train", "validation", "test", "all"] = Field(
        default="test", description="Cases to score; all takes every case, for external sets."
    )
    engine: Annotated[EngineSettings, KindOf("pipeline.engines", default="torch")] = Field(
        default=TorchConfig(), description="What runs the network."
    )
    cache: Path | None = Field(
        default=None, description="Folder of prepared cases to share with training; null prepares into a temporary one."
    )
    read: ReadOptions = Field(default=ReadOptions(), description="How scans are read.")
    track: bool = Field(default=True, description="Add scores and plots to the MLflow run that made the model.")
    tracking_uri: str = Field(
        default="",
        description="MLflow store of the model, such as http://HOST:5000; empty takes the run's own, or mlflow.db in "
        "this folder. MLFLOW_TRACKING_URI is not read.",
    )


def run(config: Config) -> Outcome:
    """Evaluate; exit status 3 if some cases could not be read.

    Raises
    ------
    ManifestError
        The manifest is damaged, does not hold the findings or the channels of the model, or has no case to score.
    EngineError
        The library of the engine is not installed.
    PackageError, TrackingError
        The model is damaged, or cannot be found.
    """
    check_installed(config.engine.kind)
    with tempfile.TemporaryDirectory(prefix="resdx-evaluate-") as scratch:
        package = load_package(resolve(config.model, _store(config), _made(Path(scratch) / "model")))
        manifest = load_manifest(config.manifest)
        check_findings(package.findings, manifest.findings)
        check_channels(package.plan, manifest)
        cases = cases_to_score(manifest, config.split, package.findings)
        config = config.model_copy(update={"engine": config.engine.resolve(package)})
        looks = count_looks(config, package, manifest, cases)
        scored, logits, rejections = answer(config, package, cases, Path(scratch) / "prepared")
        atomic.write_text(config.out / "rejections.csv", rejection_table(rejections))
        if not scored:
            message = f"None of the {len(cases)} cases could be read; {config.out / 'rejections.csv'} says why."
            raise ManifestError(message, "Mend the inputs or the read options, then run again.")
        report = evaluate(
            package.findings,
            scored,
            logits,
            package.calibration,
            package.operating_points,
            config,
            model=package.digest,
            manifest=manifest.digest,
            trained_on=package.cohort if manifest.digest == package.cohort else package.manifest_digest,
            split="all" if config.split == "all" else Split(config.split),
            engine=config.engine.title,
            acknowledged_leaks=max(manifest.acknowledged_leaks, package.card.acknowledged_leaks),
            rejected=len(rejections),
            opened_for=len({look.model for look in looks}),
            learned=config.split == "validation" and manifest.digest == package.cohort and package.learned_validation,
        )
        files = write_results(config, package, scored, logits, report)
        counted = [describe_openings(looks)] if looks else []
        lines = [*score_lines(report), *counted, *_closing(config, report), *_track(config, package, report, files)]
    return Outcome(lines=tuple(lines), exit_code=EXIT_SOME_REJECTED if rejections else EXIT_OK)


def count_looks(
    config: Config, package: ModelPackage, manifest: Manifest, cases: Sequence[Case]
) -> tuple[Opening, ...]:
    """Note that the test split is opened, before anything is scored; empty where no test case is among `cases`."""
    if not any(case.split is Split.TEST for case in cases):
        return ()
    return record_opening(config.manifest, manifest.digest, package.digest)


def answer(
    config: Config, package: ModelPackage, cases: Sequence[Case], scratch: Path
) -> tuple[tuple[Case, ...], NDArray[np.float32], tuple[Rejection, ...]]:
    """Read, prepare and run cases; return those answered, their logits (n, outputs), and why the others are not."""
    reader = CaseReader(load_files(config.manifest), config.read)
    cache = PreparedCache(config.cache or scratch, package.plan, reader.read)
    processes = config.worker_count
    refused = cache.fill(
        cases, processes=processes, timeout_seconds=config.seconds_per_case, memory_bytes=config.memory_bytes
    )
    unread = {rejection.path for rejection in refused}
    engine = config.engine.build(package)
    ready = [case for case in cases if case.case not in unread]
    answered, logits, odd = run_network(ready, cache, engine, package.outputs)
    return answered, logits, (*refused, *odd)


def run_network(
    cases: Sequence[Case], cache: PreparedCache, engine: Engine, outputs: int
) -> tuple[tuple[Case, ...], NDArray[np.float32], tuple[Rejection, ...]]:
    """Run prepared cases one at a time; return those answered, their logits (n, outputs), and the others."""
    answered, rows, refused = [], [], []
    for case in track(cases, "evaluate cases", len(cases)):
        row = engine.answer(np.asarray(cache.load(case))[np.newaxis]).logits
        if np.isfinite(row).all():
            answered.append(case)
            rows.append(row)
        else:
            refused.append(
                Rejection(
                    path=case.case,
                    sha256=case.digest,
                    series=case.series[0].series,
                    code=Code.NOT_FINITE,
                    stage="predict",
                    message="the network's output for this scan is not a finite number",
                    remedy="Check the scan's intensities.",
                )
            )
    logits = np.concatenate(rows) if rows else np.zeros((0, outputs), dtype=np.float32)
    return tuple(answered), logits, tuple(refused)


def write_results(
    config: Config, package: ModelPackage, cases: Sequence[Case], logits: NDArray[np.float32], report: Report
) -> tuple[Path, ...]:
    """Write plots, evaluated.csv, report.json and report.html; return those that may be tracked."""
    bootstrap = make_bootstrap(cases, config)
    given = (package.findings, cases, logits, package.calibration, package.operating_points)
    answers = answers_of(*given, bootstrap.patients)
    plots = {
        finding.finding: save_plots(config.out, entry, finding, bootstrap)
        for entry, finding in zip(answers, report.findings, strict=True)
    }
    made = {path for paths in plots.values() for path in paths}
    for stale in {path for kind in PLOTS for path in config.out.glob(f"{kind}_*.png")} - made:
        stale.unlink()
    facts = {"Name of the model": package.card.name, "Made with": f"resdx {__version__}"}
    atomic.write_text(config.out / "evaluated.csv", evaluated_table(cases, answers))
    atomic.write_text(config.out / "report.json", report.model_dump_json(indent=2) + "\n")
    atomic.write_text(config.out / "report.html", render(report, plots, facts))
    return (config.out / "report.json", config.out / "report.html", *sorted(made))


def _closing(config: Config, report: Report) -> list[str]:
    warnings = [*report.warnings, *(text for finding in report.findings for text in finding.warnings)]
    lines = [f"WARNING: {text}" for text in warnings]
    if report.rejected:
        lines.append(f"{report.rejected} cases could not be read: {config.out / 'rejections.csv'}")
    return [*lines, f"Report: {config.out / 'report.html'}"]


def _track(config: Config, package: ModelPackage, report: Report, files: Sequence[Path]) -> list[str]:
    """Add scores and plots to the MLflow run of the training, or to a run of its own for a model out of MLflow."""
    place = _tracked_place(config, package)
    if place is None:
        return []
    folder, settings = place
    where = f"external-{report.manifest[:8]}-{report.split}" if report.external else str(report.split)
    measured = flat_metrics(report, where)
    ended = next((r for r in reversed(read_journal(folder)) if isinstance(r, Ended)), None) if _has(folder) else None
    journal = FileJournal(folder)
    try:
        journal.tags({f"resdx.evaluated.{where}": report.manifest})
        journal.metrics(measured, step=_step_of(measured, folder))
        for path in files:
            journal.artifact(path, f"evaluation/{where}")
        journal.end(ended.status if ended else "FINISHED")
    finally:
        journal.close()
    try:
        run_id = replay(folder, settings)
    except TrackingError as error:
        log.warning("%s", error)
        return []
    return [f"Added to MLflow run {run_id}."]


def _step_of(measured: Mapping[str, float], folder: Path) -> int:
    """Take the step behind earlier evaluations that gave other scores: MLflow shows those of the last step."""
    records = read_journal(folder) if _has(folder) else ()
    earlier: dict[int, dict[str, float]] = defaultdict(dict)
    for record in records:
        if isinstance(record, Metrics) and not measured.keys().isdisjoint(record.values):
            earlier[record.step] |= record.values
    last = max(earlier, default=0)
    return last if not earlier or measured.items() <= earlier[last].items() else last + 1


def _tracked_place(config: Config, package: ModelPackage) -> tuple[Path, TrackingSettings] | None:
    if not config.track:
        return None
    if config.model.startswith(SCHEMES):
        settings = TrackingSettings(uri=_store(config).uri, registered_model="", alias="")
        save_settings(config.out, settings)
        return config.out, settings
    folder = package.folder.resolve().parent
    if not _has(folder):
        return None
    if not isinstance(read_journal(folder)[-1], Ended):
        log.warning("The run of this model has not ended; its scores are not added to MLflow.")
        return None
    settings = load_settings(folder)
    if config.tracking_uri:
        settings = settings.model_copy(update={"uri": config.tracking_uri})
    return (folder, settings) if settings.enabled else None


def _has(folder: Path) -> bool:
    return journal_path(folder).is_file()


def _store(config: Config) -> Store:
    return Store(uri=config.tracking_uri) if config.tracking_uri else default_store(Path.cwd())


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
