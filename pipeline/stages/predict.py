"""``resdx predict``: a model over a folder of scans, unattended; killed anywhere, the same command goes on."""

import json
import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from pipeline import __version__
from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.config import KindOf
from pipeline.domain.frozen import digest
from pipeline.domain.selection import Selection
from pipeline.domain.terms import known_modality
from pipeline.engines.auto import Config as AutoConfig
from pipeline.engines.computed_by import computed_by
from pipeline.engines.libraries import check_installed
from pipeline.engines.settings import EngineSettings, ExportedSettings, engine_settings
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED
from pipeline.ledger import Ledger, open_ledger
from pipeline.package.package import ModelPackage, load_package
from pipeline.readers.digest_memory import DigestMemory
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.scope.settings import ScopeSettings
from pipeline.stages.outcome import Outcome
from pipeline.stages.predict_answer import Job, Limits
from pipeline.stages.predict_executors import ExecutorSettings, make_executor
from pipeline.stages.predict_folders import check_folders, sweep
from pipeline.stages.predict_output_settings import OutputSettings
from pipeline.stages.predict_outputs import CaseOutputs
from pipeline.stages.predict_page import PAGE
from pipeline.stages.predict_pass import Batch, Passed, run_pass
from pipeline.stages.predict_requests import LIMITS
from pipeline.stages.predict_sharing import Retry
from pipeline.stages.predict_tables import closing_lines, model_of_tables
from pipeline.stages.predict_watch import WatchSettings, watch
from pipeline.stages.stopping import stopping_on_sigterm
from pipeline.stages.worker_settings import DiscoverySettings
from pipeline.tracking.locate import resolve
from pipeline.tracking.settings import Store, default_store

OBJECTS = {"report": True, "captures": True}

log = logging.getLogger("resdx")

LEDGER = "ledger.sqlite"


class Config(OutputSettings, ExecutorSettings, DiscoverySettings):
    """Settings of ``resdx predict``."""

    model: str = Field(description="Package folder, training run folder, runs:/RUN/model or models:/NAME@ALIAS.")
    scans: Path = Field(
        description="Folder of scans; nothing is ever written in it. A ZIP archive counts as a folder, here and below."
    )
    out: Path = Field(
        description="Folder for predictions.csv, .jsonl, .parquet and .html, superseded.csv, files.csv, "
        "rejections.csv, retry.csv, summary.json, pictures/, heatmaps/, dicom/, and the ledger by which the same "
        "command goes on where it stopped."
    )
    modality: str = Field(
        default="",
        description="Modality of NIfTI files and pictures, which do not say it; without it they are refused. It is "
        "never taken from the model.",
    )
    select: Selection | None = Field(
        default=None,
        description="Which series of a study is read. Default: the rules of the ingest that the model was trained on, "
        "which travel with it. The modality follows from the model.",
    )
    engine: Annotated[EngineSettings, KindOf("pipeline.engines", default="auto")] = Field(
        default=AutoConfig(),
        description="What runs the network. auto takes the fastest engine that `resdx export` measured to agree on "
        "this kind of processor, else PyTorch in float32. A folder of predictions keeps to what was chosen first.",
    )
    key_file: Path | None = Field(
        default=None, description="Key of the pseudonyms. Default: $RESDX_KEY_FILE, else ~/.config/resdx/key."
    )
    read: ReadOptions = Field(default=ReadOptions(), description="How scans are read.")
    scope: ScopeSettings = Field(
        default=ScopeSettings(), description="Whether a scan is like those that the model was trained on."
    )
    retry: bool = Field(
        default=False,
        description="Try every refused case again. By default only those are that another try may mend: TIMEOUT, "
        "UNREADABLE, CODEC_CRASH, CHANGED, TOO_LARGE, INTERNAL.",
    )
    watch: WatchSettings = Field(default=WatchSettings(), description="Following a folder that grows.")
    tracking_uri: str = Field(
        default="",
        description="MLflow store of the model, such as http://HOST:5000; empty takes mlflow.db in this folder. Which "
        "model answers is said here alone: MLFLOW_TRACKING_URI is not read.",
    )

    @field_validator("modality")
    @classmethod
    def _check_modality(cls, value: str) -> str:
        if value and not known_modality(value):
            raise ValueError(f"{value!r} is no modality of DICOM (PS3.3 C.7.3.1.1.1), such as CT, MR, US, DX or OP")
        return value

    @property
    def options(self) -> ReadOptions:
        """How scans are read, with the modality of those that do not say it."""
        return self.read.model_copy(update={"modality": self.modality or self.read.modality})

    @property
    def limits(self) -> Limits:
        """What a worker may take."""
        processes = self.worker_count
        return Limits(processes, self.seconds_per_case, self.memory_bytes)


def run(config: Config) -> Outcome:
    """Predict every case of a folder that has no outcome yet; exit status 3 if something was rejected.

    Several processes may work in one folder: they share the cases.

    Raises
    ------
    UsageError
        SCANS is no folder, `out` or the key lies in it, it lies in `out`, a process of another machine works in `out`,
        or `select` and the model exclude each other.
    EngineError
        The library of the engine is not installed.
    PackageError, TrackingError
        The model is damaged, or cannot be found.
    LedgerError
        The ledger in `out` is damaged or of another version, or `out` cannot be written.
    StoppedBySignal
        SIGTERM arrived; the same command goes on.
    """
    check_folders(config.scans, config.out)
    if config.executor == "local":
        check_installed(config.engine.kind)
    with stopping_on_sigterm(), tempfile.TemporaryDirectory(prefix="resdx-predict-") as scratch:
        store = Store(uri=config.tracking_uri) if config.tracking_uri else default_store(Path.cwd())
        package = load_package(resolve(config.model, store, Path(scratch)))
        with open_ledger(config.out / LEDGER) as ledger:
            sweep(config.out, before_ns=ledger.since_ns)
            return predict(config, package, ledger)


def predict(config: Config, package: ModelPackage, ledger: Ledger) -> Outcome:
    """Predict with a loaded package, in a folder that is open; see :func:`run`."""
    batch = make_batch(config, package, ledger)
    _say_whose_tables(config.out, package)
    if not config.watch.enabled:
        return _closing(config, run_pass(batch), batch)
    last = None
    for passed in watch(batch, config.watch):
        last = _closing(config, passed, batch)
        for line in last.lines:
            log.info("%s", line)
    return last or Outcome(("Nothing came.",))


def make_batch(config: Config, package: ModelPackage, ledger: Ledger) -> Batch:
    """Gather what stays the same from pass to pass."""
    pseudonyms = Pseudonyms.open(config.key_file, outside=config.scans)
    pseudonyms.check_map()
    engine = chosen_engine(config.engine, package, ledger)
    depends_on = _depends_on(config, package, engine)
    job = Job(package.folder, engine, config.options, config.limits, config.explain, config.scope)
    index = config.folder_index(pseudonyms)
    return Batch(
        out=config.out,
        package=package,
        engine=engine,
        select=config.select,
        retry=Retry.ALL if config.retry else Retry.PASSING,
        depends_on=depends_on,
        question=digest(depends_on),
        ledger=ledger,
        pseudonyms=pseudonyms,
        executor=make_executor(config, job, package),
        outputs=CaseOutputs(config.out, package, engine.kind, config),
        discover=partial(discover, config.scans, config.options, index=index, memory=DigestMemory()),
    )


def chosen_engine(asked: EngineSettings, package: ModelPackage, ledger: Ledger) -> EngineSettings:
    """Resolve what is asked for, once for a folder and a model: another engine gives other last digits.

    Where other libraries or another kind of processor compute than those that the folder was begun with, a warning
    says so: its outcomes are then not equal to the last bit. What no longer counts as measured to agree is judged where
    the engine is built; see :func:`pipeline.engines.exports.check_measured`.

    Raises
    ------
    EngineError
        An export that is asked for is absent, damaged or of another model.
    """
    name = f"engine {package.digest} {asked.model_dump_json()}"
    kept = ledger.kept(name) or ledger.keep(name, asked.resolve(package).model_dump_json())
    engine = engine_settings(json.loads(kept))
    if getattr(asked, "exported", None) is None and isinstance(engine, ExportedSettings):
        engine = engine.moved_with(package)
    here = computed_by(engine)
    began: dict[str, str] = json.loads(ledger.keep(f"computed by, {name}", json.dumps(here)))
    others = [f"{part} {began.get(part, 'none')} (here {now})" for part, now in here.items() if began.get(part) != now]
    if others:
        log.warning(
            "%s was begun with %s: answers may differ from those that are there in their last digits. Where tables "
            "should be equal to the last bit, go on with what it was begun with, or give another --out.",
            engine.title,
            ", ".join(others),
        )
    return engine


def _say_whose_tables(out: Path, package: ModelPackage) -> None:
    before = model_of_tables(out)
    if before and before != package.digest:
        log.warning(
            "The tables in %s were made with another model (%.12s) and will be those of this one (%.12s). What it "
            "predicted stays in the ledger: the same command with that model brings its tables back. An --out for "
            "each model keeps both in sight.",
            out,
            before,
            package.digest,
        )


def _closing(config: Config, passed: Passed, batch: Batch) -> Outcome:
    lines = [
        *closing_lines(config.out, passed.summary, passed.ended, passed.predicted, passed.elsewhere, passed.arriving)
    ]
    if config.page:
        lines.append(f"To look at, in a browser: {config.out / PAGE}")
    if config.dicom.send is not None:
        lines.append(f"{passed.sent.stored} objects were sent to {config.dicom.send.name}.")
    if passed.sent.failed:
        lines.append(f"{passed.sent.failed} objects could not be sent; the same command tries them again.")
    if passed.summary.inputs:
        lines.append(f"Who is who (keep it inside): {batch.pseudonyms.map_file}")
    is_whole = not passed.ended.rejections and not passed.sent.failed
    return Outcome(tuple(lines), EXIT_OK if is_whole else EXIT_SOME_REJECTED)


def _depends_on(config: Config, package: ModelPackage, engine: EngineSettings) -> dict[str, object]:
    """Name what an outcome depends on beside the scan; another version may read a scan that this one refuses."""
    return {
        "model": package.digest,
        "engine": engine.model_dump(mode="json", exclude={"exported"}),  # wherever it lies, its seal names it
        "read": config.read.model_dump(mode="json", exclude=LIMITS),
        "scope": config.scope.model_dump(mode="json"),
        "outputs": config.model_dump(mode="json", include={"pictures": True, "explain": True, "dicom": OBJECTS}),
        "resdx": __version__,
    }
