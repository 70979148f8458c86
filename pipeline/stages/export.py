"""``resdx export``: a model for other runtimes, and how well each agrees with PyTorch on the validation split."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, NonNegativeInt, field_validator

from pipeline import atomic
from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.domain.case import Case, Split
from pipeline.domain.manifest import Manifest
from pipeline.engines.choosing import fastest
from pipeline.engines.exports import PARITY, PARITY_TEXT, default_folder
from pipeline.engines.parity import ParityReport, Processor
from pipeline.engines.torch import Config as TorchConfig
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, ManifestError, UsageError
from pipeline.evaluation.selection import check_findings
from pipeline.machine import cores
from pipeline.package.content import sha256_of
from pipeline.package.package import ModelPackage, load_package
from pipeline.preprocessing.cache import PreparedCache
from pipeline.progress import track
from pipeline.readers.options import ReadOptions
from pipeline.stages.export_content import FORMATS, Format, Prepared
from pipeline.stages.export_parity import measure, versions
from pipeline.stages.export_text import markdown, table
from pipeline.stages.export_writing import check_libraries, write_networks
from pipeline.stages.outcome import Outcome
from pipeline.stages.worker_settings import WorkerSettings
from pipeline.tracking.locate import SCHEMES, resolve
from pipeline.tracking.settings import Store, default_store


class Config(WorkerSettings):
    """Settings of ``resdx export``."""

    model: str = Field(description="Package folder, training run folder, runs:/RUN/model or models:/NAME@ALIAS.")
    manifest: Path = Field(
        description="Manifest that the model was trained on, the NAME.csv of `resdx ingest`: every engine is measured "
        "on all of its validation cases."
    )
    out: Path | None = Field(
        default=None,
        description="Folder for the networks, parity.json and parity.md; replaced as a whole. Default: beside the "
        "package, in its name with .exported, where the engine `auto` looks.",
    )
    to: tuple[Literal["openvino", "onnx"], ...] = Field(default=FORMATS, min_length=1, description="What is written.")
    int8: bool = Field(
        default=True,
        description="With openvino, also quantise to int8, calibrated on validation cases; kept only if it agrees.",
    )
    threads: NonNegativeInt = Field(
        default=0, description="CPU threads of every engine while it is measured; 0 takes all processors."
    )
    cache: Path | None = Field(
        default=None, description="Folder of prepared cases to share with training; null prepares into a temporary one."
    )
    read: ReadOptions = Field(default=ReadOptions(), description="How scans are read.")
    tracking_uri: str = Field(
        default="",
        description="MLflow store of the model, such as http://HOST:5000; empty takes mlflow.db in this folder. Which "
        "model answers is said here alone: MLFLOW_TRACKING_URI is not read.",
    )

    @field_validator("to")
    @classmethod
    def _once(cls, value: tuple[Format, ...]) -> tuple[Format, ...]:
        return tuple(name for name in FORMATS if name in value)

    @property
    def thread_count(self) -> int:
        """Threads of every engine."""
        return self.threads or cores()


def run(config: Config) -> Outcome:
    """Export; exit status 3 if some validation cases could not be read.

    Raises
    ------
    UsageError
        A model of MLflow has no folder beside which `out` could stand, or `out` holds something else.
    EngineError
        A library is missing, or a network cannot be converted.
    ManifestError
        The manifest is not the model's own, or no validation case can be read.
    PackageError, TrackingError
        The model is damaged, or cannot be found.
    """
    check_libraries(config.to, int8=config.int8)
    with tempfile.TemporaryDirectory(prefix="resdx-export-") as scratch:
        store = Store(uri=config.tracking_uri) if config.tracking_uri else default_store(Path.cwd())
        downloaded = Path(scratch) / "model"
        downloaded.mkdir()
        package = load_package(resolve(config.model, store, downloaded))
        out = _place(config, package)
        manifest = load_manifest(config.manifest)
        check_own(package, manifest)
        prepared, unread = prepare(config, package, manifest, Path(scratch) / "prepared")
        report = export(config, package, manifest, prepared, unread, out)
    return Outcome(tuple(_closing(report, out)), EXIT_SOME_REJECTED if report.unread else EXIT_OK)


def check_own(package: ModelPackage, manifest: Manifest) -> None:
    """Refuse a manifest that is not the one whose cases the model was calibrated on.

    Raises
    ------
    ManifestError
    """
    check_findings(package.findings, manifest.findings)
    if manifest.digest != package.cohort:
        raise ManifestError(
            f"The manifest ({manifest.digest[:12]}) is not the one that the model was trained on "
            f"({package.cohort[:12]}): agreement is judged where its operating points were chosen.",
            "Give the manifest of the training.",
        )
    if not manifest.of(Split.VALIDATION):
        raise ManifestError("The validation split of the manifest has no case.", "Give the manifest of the training.")


def prepare(config: Config, package: ModelPackage, manifest: Manifest, scratch: Path) -> tuple[Prepared, int]:
    """Read and prepare the validation cases; return those that PyTorch answers, with its answers, and count the others.

    Raises
    ------
    ManifestError
        If none can be read.
    """
    cases = manifest.of(Split.VALIDATION)
    reader = CaseReader(load_files(config.manifest), config.read)
    cache = PreparedCache(config.cache or scratch, package.plan, reader.read)
    refused = cache.fill(
        cases,
        processes=config.worker_count,
        timeout_seconds=config.seconds_per_case,
        memory_bytes=config.memory_bytes,
    )
    unread = {rejection.path for rejection in refused}
    engine = TorchConfig(device="cpu", threads=config.thread_count).build(package)
    ready: list[Case] = []
    rows = []
    for case in track([case for case in cases if case.case not in unread], "reference", len(cases) - len(unread)):
        row = engine.answer(np.array(cache.load(case))[np.newaxis]).logits
        if np.isfinite(row).all():
            ready.append(case)
            rows.append(row)
    if not ready:
        message = f"None of the {len(cases)} validation cases could be read."
        raise ManifestError(message, "Mend the inputs or the read options, then run again.")
    return Prepared(tuple(ready), cache, np.concatenate(rows)), len(cases) - len(ready)


def export(
    config: Config, package: ModelPackage, manifest: Manifest, prepared: Prepared, unread: int, out: Path
) -> ParityReport:
    """Write the networks and measure them, then put the whole folder in its place in one step."""
    reports = []

    def fill(folder: Path) -> None:
        written = write_networks(package, folder, config.to, prepared, int8=config.int8, threads=config.thread_count)
        files = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
        draft = ParityReport(
            model=package.digest,
            manifest=manifest.digest,
            cases=len(prepared.cases),
            unread=unread,
            processor=Processor.here(),
            threads=config.thread_count,
            versions=versions(),
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            files=files,
            rows=(),
        )
        rows = measure(package, prepared, written, draft, folder, threads=config.thread_count)
        report = draft.model_copy(update={"rows": rows}).sealed()
        (folder / PARITY).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / PARITY_TEXT).write_text(markdown(report, package), encoding="utf-8")
        reports.append(report)

    atomic.replace_folder(out, fill)
    return reports[0]


def _place(config: Config, package: ModelPackage) -> Path:
    if config.out is None:
        if config.model.startswith(SCHEMES):
            raise UsageError(f"{config.model} has no folder to stand beside.", "Give --out a folder.")
        return default_folder(package)
    foreign = config.out.exists() and not (config.out / PARITY).is_file()
    if foreign and (not config.out.is_dir() or any(config.out.iterdir())):
        message = f"{config.out} holds something else than an export, and would be replaced."
        raise UsageError(message, "Give --out an empty folder, or a new one.")
    return config.out


def _closing(report: ParityReport, out: Path) -> list[str]:
    row, _ = fastest(report)
    chosen = f"Engine auto takes {row.title} on this kind of processor." if row else "Engine auto takes torch 32."
    unread = [f"{report.unread} validation cases could not be read and were not compared."] if report.unread else []
    return [*table(report), *unread, chosen, f"Report: {out / PARITY_TEXT}"]
