"""``resdx sweep``: searches settings of ``resdx train`` on validation; any number of processes share one search.

Each trial is a whole run in ``OUT/trials/trial-0000``, below the search's run in MLflow. The cache of prepared cases is
shared: trials of one plan prepare nothing twice. Killed anywhere, the same command goes on in the trials it was in.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from pipeline import atomic
from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.config import to_yaml
from pipeline.credentials import without_credentials
from pipeline.domain.case import Split
from pipeline.domain.encoding import encode_labels
from pipeline.domain.frozen import digest
from pipeline.domain.manifest import Manifest
from pipeline.errors import (
    ConfigError,
    DiskFull,
    OutdoneError,
    ResdxError,
    StoppedBySignal,
    TrainingError,
    UsageError,
)
from pipeline.shipped import find_config
from pipeline.stages import train as training
from pipeline.stages.outcome import Outcome
from pipeline.stages.preparation import Read
from pipeline.stages.run_record import names_only
from pipeline.stages.stopping import stopping_on_sigterm
from pipeline.stages.sweep_journal import announce, close, lead, note, record_trial
from pipeline.stages.sweep_settings import Config
from pipeline.tracking.settings import TrackingSettings, save_settings
from pipeline.training.fitting import FITTED, Fitted
from pipeline.training.missing_classes import check_auroc
from pipeline.training.ranks import rank_of
from pipeline.training.run_folder import CHECKPOINTS, alone, claim, worded
from pipeline.training.search.page import best_of, write_pages
from pipeline.training.search.shown import shown_rows, shown_space, shown_value
from pipeline.training.search.trials import TrialRow, Trials

log = logging.getLogger("resdx")

TRIALS = "trials"
BEST = "best.yaml"

FREE = frozenset({"trials", "manifest", "out", "pruner", "pruner_warmup", "startup_trials", "settings.tracking"})
"""Settings that may differ when a search goes on."""

WHERE = frozenset({"manifest", "out", "cache", "processes", "seconds_per_case", "memory_bytes", "tracking", "threads"})
"""Settings of the base that may differ between processes of one search."""

FAILURES_AT_FIRST = 3
"""So many failures before the first success end the search: it is the base that is wrong."""


def run(config: Config) -> Outcome:
    """Search until all trials are begun; what other processes still train is theirs to finish.

    Raises
    ------
    ConfigError
        The base, or a value of the space, is no valid setting.
    UsageError
        The folder or the storage holds another search, or a trial's folder is in use or holds another run.
    TrainingError
        No trial could be trained.
    StoppedBySignal, DiskFull
        The same command goes on.
    """
    if rank_of():
        raise UsageError("A search is no job of several ranks.", "Start `resdx sweep` once for each device.")
    manifest = load_manifest(config.manifest)
    reader = CaseReader(load_files(config.manifest), config_of_trial(config, {}, config.out).read)
    with stopping_on_sigterm():
        return search(config, manifest, reader.read)


def search(config: Config, manifest: Manifest, read: Read) -> Outcome:
    """Search on a manifest whose scans `read` reads; see :func:`run`."""
    check_space(config)
    base = config_of_trial(config, {}, config.out)
    if config.objective == "auroc" and not base.folds:
        validation = encode_labels(manifest.of(Split.VALIDATION), manifest.findings)
        check_auroc(manifest.findings, validation, "objective: auroc")
    kept = config.model_copy(update={"storage": without_credentials(config.storage)})
    values = base.model_dump(mode="json", exclude=set(WHERE))
    identity = digest([values, kept.model_dump(mode="json", include={"space", "objective"}), manifest.digest])
    with lead(config.out):
        facts = {"manifest digest": manifest.digest, "base": digest(values)}
        claim(config.out, kept, facts, free=FREE, resume=True)
        trials = open_trials(config, identity)
        save_settings(config.out, base.tracking)
        note(config.out, base.tracking, partial(announce, shown(kept, base)))
    while (number := next_trial(config, trials)) is not None:
        run_trial(config, trials, number, manifest, read)
        rows = trials.rows()
        with lead(config.out):
            note(
                config.out, base.tracking, partial(record_trial, rows[number], best_of(rows, maximise=config.maximise))
            )
        check_first(rows)
    with lead(config.out):
        return summarise(config, trials, base.tracking)


def shown(config: Config, base: training.Config) -> dict[str, str]:
    """Word the settings as MLflow may show them: paths by their names only."""
    own = config.model_dump(mode="json", exclude={"manifest", "out", "base", "settings", "space"})
    own |= {"base": Path(config.base).name, "manifest": config.manifest.name, "space": shown_space(config.space)}
    return worded(own | {"train": names_only(base).model_dump(mode="json", exclude={"tracking"})})


def config_of_trial(config: Config, values: Mapping[str, Any], out: Path) -> training.Config:
    """Build the settings of one training: the base, what the search sets for all, the values of the trial."""
    path = find_config("train", config.base)
    return training.Config.load(path, (), config.over_base(values, out))


def check_space(config: Config) -> None:
    """Refuse a space with a value that is no valid setting, before anything is trained.

    Raises
    ------
    ConfigError
        Naming each mistake once.
    """
    problems: dict[str, None] = {}
    for values in config.corners():
        try:
            trial = config_of_trial(config, values, config.out)
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
            continue
        if trial.training.devices != 1 or trial.training.num_nodes != 1:
            problems["training.devices: a trial trains on one device; start a process for each device"] = None
        if "training.learning_rate" in config.space and trial.training.rate_finder.enabled:
            problems["training.rate_finder: its rate would take the place of the one that is searched"] = None
        if config.pruner != "none" and (trial.folds or trial.seeds):
            problems["pruner: trials of several members have no epochs in common; expected none"] = None
    if fixed := sorted({"manifest", "out", "tracking", "cache"} & {key.split(".")[0] for key in config.space}):
        problems[f"space: {', '.join(fixed)} cannot be searched"] = None
    if problems:
        raise ConfigError("the space of the search, over its base", list(problems))


def open_trials(config: Config, identity: str) -> Trials:
    """Open the storage."""
    return Trials(
        config.out,
        storage=config.storage,
        name=config.name,
        space=config.space,
        maximise=config.maximise,
        seed=config.seed,
        startup=config.startup_trials,
        pruner=config.pruner,
        warmup=config.pruner_warmup,
        identity=identity,
    )


def next_trial(config: Config, trials: Trials) -> int | None:
    """Take up a trial of this folder that was killed, or begin one; None where all are begun."""
    with lead(config.out):
        for number in trials.begun_here():
            try:
                with alone(folder_of(config, number)):
                    return number
            except UsageError:
                continue  # another process trains it
        return trials.ask() if len(trials.rows()) < config.trials else None


def folder_of(config: Config, number: int) -> Path:
    """Run folder of a trial."""
    return config.out / TRIALS / f"trial-{number:04d}"


def run_trial(config: Config, trials: Trials, number: int, manifest: Manifest, read: Read) -> None:
    """Train a trial, or go on with it, and answer the storage; where it fails that is noted, and the search goes on."""
    folder = folder_of(config, number)
    values = trials.values(number)
    told = ", ".join(f"{key}={shown_value(key, value, config.space)}" for key, value in values.items())
    log.info("trial %d (%d in all): %s", number, config.trials, told)
    with ExitStack() as stack:
        try:
            stack.enter_context(alone(folder))
        except UsageError:
            return  # another process has taken it up
        if not trials.is_open(number):
            return
        try:
            trials.complete(number, train_trial(config, trials, number, manifest, read))
        except OutdoneError as outdone:
            trials.prune(number)
            log.info("trial %d: %s", number, outdone.message)
        except (StoppedBySignal, DiskFull, UsageError):
            raise  # none is the fault of the trial's settings: it stays open, and the same command goes on with it
        except (ResdxError, torch.OutOfMemoryError) as error:
            reason = error.message if isinstance(error, ResdxError) else "out of memory"
            trials.fail(number, reason)
            log.warning("trial %d failed: %s", number, reason)


def train_trial(config: Config, trials: Trials, number: int, manifest: Manifest, read: Read) -> float:
    """Train one trial in its folder; return its score."""
    folder = folder_of(config, number)
    base = config_of_trial(config, trials.values(number), folder)
    changes: dict[str, Any] = {"parent": str(config.out), "run_name": folder.name, "registered_model": "", "alias": ""}
    trial = base.model_copy(
        update={
            "cache": base.cache or config.out / "cache",
            "name": f"{base.name or config.name} {folder.name}",
            "tracking": base.tracking.model_copy(update=changes),
        }
    )

    def watch(epoch: int, measured: Mapping[str, float]) -> None:
        score = measured.get(f"val/{config.objective}")
        if score is not None and trials.report(number, epoch, score):
            raise OutdoneError(f"given up in epoch {epoch}: the median of the others was better.", "")

    training.train(trial, manifest, read, watch if config.pruner != "none" else None)
    return score_of(folder, config.objective)


def score_of(folder: Path, objective: str) -> float:
    """Score of a trained run on validation, at its best epoch; of an ensemble the mean over its members.

    Raises
    ------
    TrainingError
        The objective is not defined on this validation split, or the file is damaged.
    """
    whole = folder / CHECKPOINTS / FITTED
    paths = [whole] if whole.is_file() else sorted(folder.glob(f"members/*/{CHECKPOINTS}/{FITTED}"))
    try:
        found = [Fitted.model_validate_json(path.read_bytes()).best.get(f"val/{objective}") for path in paths]
    except ValidationError as error:
        raise TrainingError(f"{folder.name}: {FITTED} is damaged.", "Remove the folder of the trial.") from error
    values = [value for value in found if value is not None]
    if not values or len(values) < len(found):
        raise TrainingError(
            f"{folder.name}: validation has no {objective}.", "A class is missing in validation: set `objective: loss`."
        )
    return float(np.mean(values))


def check_first(rows: tuple[TrialRow, ...]) -> None:
    """End a search of which nothing succeeds."""
    failed = [row for row in rows if row.state == "failed"]
    if len(failed) >= FAILURES_AT_FIRST and not any(row.state in ("complete", "pruned") for row in rows):
        raise TrainingError(f"The first {len(failed)} trials failed, the last: {failed[-1].reason}", "Mend the base.")


def summarise(config: Config, trials: Trials, tracking: TrackingSettings) -> Outcome:
    """Write table, pictures, page and the best settings; what other processes still train, they add."""
    rows = trials.rows()
    shown = shown_rows(rows, config.space)
    files = write_pages(config.out, config.name, shown, trials.importances(), objective=config.objective)
    best = best_of(rows, maximise=config.maximise)
    if best is None:
        if any(row.state == "running" for row in rows):
            return Outcome(lines=("No trial is complete yet; others still train.",))
        raise TrainingError("No trial is complete.", f"{config.out / 'trials.csv'} says why.")
    chosen = config_of_trial(config, best.params, config.out / "best")
    atomic.write_text(config.out / BEST, to_yaml(chosen))
    note(config.out, tracking, partial(close, files, folder_of(config, best.number).name))
    return Outcome(lines=(*closing_lines(config, rows, best), *about_login(chosen)))


def about_login(chosen: training.Config) -> tuple[str, ...]:
    """Say what best.yaml lacks where tracking needs a password."""
    uri = chosen.tracking.uri
    if uri == without_credentials(uri):
        return ()
    return (f"User and password of tracking.uri are not kept in {BEST}: add tracking.uri=... to that command.",)


def closing_lines(config: Config, rows: tuple[TrialRow, ...], best: TrialRow) -> Iterator[str]:
    """Yield what the command says at the end."""
    counts = {state: sum(row.state == state for row in rows) for state in ("complete", "pruned", "failed", "running")}
    yield f"{len(rows)} trials: {', '.join(f'{count} {state}' for state, count in counts.items() if count)}."
    yield f"Best: trial {best.number}, validation {config.objective} {best.value:.4f}"
    yield from (f"  {key}: {shown_value(key, value, config.space)}" for key, value in best.params.items())
    yield f"Its package: {folder_of(config, best.number) / training.PACKAGE}"
    yield f"Page: {config.out / 'sweep.html'}"
    yield f"Next: resdx train {config.out / BEST}, and judge that model on the test split, once."
