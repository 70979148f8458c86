"""``resdx prepare``: fills the cache of prepared cases, and mends what is damaged in it."""

from collections.abc import Callable
from pathlib import Path

from pydantic import Field, ValidationError

from pipeline import atomic
from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.domain.case import Case
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan
from pipeline.domain.volume import Volume
from pipeline.errors import EXIT_OK, EXIT_SOME_REJECTED, PlanError
from pipeline.evaluation.table import rejection_table
from pipeline.preprocessing.cache import PreparedCache
from pipeline.readers.options import ReadOptions
from pipeline.stages.outcome import Outcome
from pipeline.stages.worker_settings import WorkerSettings

REJECTIONS_FILE = "rejections.csv"


class Config(WorkerSettings):
    """Settings of ``resdx prepare``."""

    manifest: Path = Field(description="Manifest, the NAME.csv that `resdx ingest` wrote.")
    plan: Path = Field(description="The plan.json that `resdx plan` wrote.")
    cache: Path = Field(description="Folder of the cache; plans, runs and processes may share one.")
    read: ReadOptions = Field(default=ReadOptions(), description="How scans are read.")


def run(config: Config) -> Outcome:
    """Prepare every case of the manifest.

    Cases that cannot be prepared stand in ``rejections.csv`` beside the prepared ones, by pseudonym.

    Raises
    ------
    ManifestError, PlanError
        The manifest or the plan is damaged.
    """
    manifest = load_manifest(config.manifest)
    reader = CaseReader(load_files(config.manifest), config.read)
    return fill(config, manifest, reader.read)


def fill(config: Config, manifest: Manifest, read: Callable[[Case], Volume]) -> Outcome:
    """Prepare the cases of a manifest that is loaded; see :func:`run`."""
    cache = PreparedCache(config.cache, _load_plan(config.plan), read)
    processes = config.worker_count
    refused = cache.fill(
        manifest.cases,
        processes=processes,
        timeout_seconds=config.seconds_per_case,
        memory_bytes=config.memory_bytes,
    )
    table = cache.folder / REJECTIONS_FILE
    atomic.write_text(table, rejection_table(refused))
    size = " x ".join(map(str, cache.shape))
    lines = [f"{len(manifest.cases) - len(refused)} of {len(manifest.cases)} cases are prepared: {size} float32 each."]
    if refused:
        lines.append(f"{len(refused)} refused, listed with reasons in {table}")
    return Outcome(lines=(*lines, f"Cache: {cache.folder}"), exit_code=EXIT_SOME_REJECTED if refused else EXIT_OK)


def _load_plan(path: Path) -> Plan:
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}.", "Run `resdx plan` first.") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise PlanError(f"{path} is no valid plan: {problems}.", "Run `resdx plan` again.") from error
