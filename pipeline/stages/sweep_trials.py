"""One trial of a search: its settings, its folder, its training and its score."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from pipeline.domain.manifest import Manifest
from pipeline.errors import (
    ConfigError,
    DiskFull,
    OutdoneError,
    ResdxError,
    StoppedBySignal,
    TrainingError,
    UsageError,
    WorkerError,
)
from pipeline.shipped import find_config
from pipeline.stages import train as training
from pipeline.stages.preparation import Read
from pipeline.stages.sweep_journal import lead
from pipeline.stages.sweep_settings import Config
from pipeline.stages.train_settings import Config as TrainConfig
from pipeline.training.fitting import FITTED, Fitted
from pipeline.training.run_folder import CHECKPOINTS, alone
from pipeline.training.search.shown import shown_value
from pipeline.training.search.trials import Trials

log = logging.getLogger("resdx")

TRIALS = "trials"


def config_of_trial(config: Config, values: Mapping[str, Any], out: Path) -> TrainConfig:
    """Build the settings of one training: the base, what the search sets for all, the values of the trial."""
    path = find_config("train", config.base)
    return TrainConfig.load(path, (), config.over_base(values, out), origin="the settings or the space of the search")


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
        except (StoppedBySignal, DiskFull, UsageError, WorkerError):
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
    """Score of a trained run on validation, at the epoch that it kept; of an ensemble the mean over its members.

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
