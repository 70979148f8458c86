"""``resdx plan``: measures the training split and decides how scans become inputs, each decision with its reason."""

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import Field

from pipeline import atomic
from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.config import Settings
from pipeline.domain.case import Case, Split
from pipeline.domain.fingerprint import Fingerprint
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan
from pipeline.domain.volume import Volume
from pipeline.preprocessing.fingerprint import measure
from pipeline.preprocessing.planning import PlanSettings, make_plan
from pipeline.readers.options import ReadOptions
from pipeline.stages.outcome import Outcome

FINGERPRINT_FILE = "fingerprint.json"
PLAN_FILE = "plan.json"


class Config(Settings):
    """Settings of ``resdx plan``."""

    manifest: Path = Field(description="Manifest, the NAME.csv that `resdx ingest` wrote.")
    out: Path | None = Field(
        default=None,
        description="Folder for fingerprint.json and plan.json. Default: NAME.plan beside the manifest.",
    )
    plan: PlanSettings = Field(default=PlanSettings(), description="Decisions taken by hand; the others are made.")
    read: ReadOptions = Field(default=ReadOptions(), description="How scans are read.")


def run(config: Config) -> Outcome:
    """Write what was measured and what was decided.

    Raises
    ------
    ManifestError
        The manifest is damaged.
    PlanError
        No sound plan follows from the training split, or an override contradicts it.
    """
    manifest = load_manifest(config.manifest)
    reader = CaseReader(load_files(config.manifest), config.read)
    return decide(config, manifest, reader.read)


def decide(config: Config, manifest: Manifest, read: Callable[[Case], Volume]) -> Outcome:
    """Measure, decide and write, for a manifest that is loaded; see :func:`run`."""
    fingerprint = measure(manifest, Split.TRAIN, read)
    plan = make_plan(fingerprint, config.plan, manifest.select)
    out = config.out or config.manifest.with_suffix(".plan")
    atomic.write_text(out / FINGERPRINT_FILE, fingerprint.model_dump_json(indent=2) + "\n")
    atomic.write_text(out / PLAN_FILE, plan.model_dump_json(indent=2) + "\n")
    written = f"Written: {out / FINGERPRINT_FILE}, {out / PLAN_FILE}"
    return Outcome(lines=(*_describe(fingerprint, plan), written, *_next(config)))


def _next(config: Config) -> Iterator[str]:
    """Say how to train by this plan: `resdx train` measures for itself, and knows no override that it is not given."""
    given = {"plan": config.plan, "read": config.read}
    values = {name: settings.model_dump(mode="json", exclude_unset=True) for name, settings in given.items()}
    words = [f"{name}.{key}={json.dumps(value)}" for name, found in values.items() for key, value in found.items()]
    folders = ["--manifest", str(config.manifest), "--out", "runs/a"]
    yield f"Next: {shlex.join(['resdx', 'train', 'CONFIG.yaml', *folders, *words])}"
    yield (
        "CONFIG.yaml is yours and may hold {} alone. Training makes this plan anew, from the same cases and settings; "
        "its batch size follows from the network that it trains."
    )


def _describe(fingerprint: Fingerprint, plan: Plan) -> list[str]:
    """One line a decision, aligned: what, its value, why."""
    names = max(len(decision.name) for decision in plan.decisions)
    values = max(len(decision.value) for decision in plan.decisions)
    lines = [f"Measured on {fingerprint.cases} cases of {fingerprint.patients} patients (training split only):"]
    for decision in plan.decisions:
        mark = " [overridden]" if decision.overridden else ""
        lines.append(f"  {decision.name:<{names}}  {decision.value:<{values}}  {decision.reason}{mark}")
    return lines
