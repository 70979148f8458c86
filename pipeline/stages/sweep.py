"""``resdx sweep``: searches settings of ``resdx train`` on validation; any number of processes share one search.

Each trial is a whole run in ``OUT/trials/trial-0000``, below the search's run in MLflow. The cache of prepared cases is
shared: trials of one plan prepare nothing twice. Killed anywhere, the same command goes on in the trials it was in.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline import atomic
from pipeline.cohort.case_reader import CaseReader
from pipeline.cohort.tables import load_files, load_manifest
from pipeline.config import to_yaml
from pipeline.credentials import without_credentials
from pipeline.domain.case import Split
from pipeline.domain.encoding import encode_labels
from pipeline.domain.frozen import digest
from pipeline.domain.manifest import Manifest
from pipeline.errors import TrainingError, UsageError
from pipeline.stages import train as training
from pipeline.stages.outcome import Outcome
from pipeline.stages.preparation import Read
from pipeline.stages.run_record import names_only
from pipeline.stages.stopping import stopping_on_sigterm
from pipeline.stages.sweep_journal import announce, close, lead, note, record_trial
from pipeline.stages.sweep_settings import Config
from pipeline.stages.sweep_trials import check_space, config_of_trial, folder_of, next_trial, run_trial
from pipeline.stages.train_settings import Config as TrainConfig
from pipeline.tracking.settings import TrackingSettings, save_settings
from pipeline.training.missing_classes import check_auroc
from pipeline.training.ranks import rank_of
from pipeline.training.run_folder import claim, worded
from pipeline.training.search.page import best_of, write_pages
from pipeline.training.search.shown import shown_rows, shown_space, shown_value
from pipeline.training.search.trials import TrialRow, Trials

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


def shown(config: Config, base: TrainConfig) -> dict[str, str]:
    """Word the settings as MLflow may show them: paths by their names only."""
    own = config.model_dump(mode="json", exclude={"manifest", "out", "base", "settings", "space"})
    own |= {"base": Path(config.base).name, "manifest": config.manifest.name, "space": shown_space(config.space)}
    return worded(own | {"train": names_only(base).model_dump(mode="json", exclude={"tracking"})})


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


def about_login(chosen: TrainConfig) -> tuple[str, ...]:
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
