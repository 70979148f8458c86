"""The trials of a search in a storage that several processes and machines may share: the only door to Optuna.

Trials are asked for and answered one by one, so that one that was killed goes on in its folder. The sampler (TPE:
Bergstra et al. 2011, *Algorithms for Hyper-Parameter Optimization*) is seeded anew for each trial from the seed of the
search and the number of trials so far: a search that was interrupted asks what an uninterrupted one would.
"""

import hashlib
import json
import logging
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from pipeline import atomic
from pipeline.credentials import without_credentials
from pipeline.domain.frozen import Frozen
from pipeline.errors import UsageError
from pipeline.training.search.settings import Choice, Dimension, FloatRange

DATABASE = "study.db"
"""The storage of a search that names none: SQLite in its folder."""

JOURNAL = "journal:"
"""A storage that begins so is Optuna's journal file, for folders on NFS, where SQLite must not be shared."""

PLACE = "place.txt"
"""Names the folder of a search, so that a process goes on with the trials of its own folder only."""

WAIT_SECONDS = 60
"""Longest that one process waits for another's write to SQLite."""

STATES = {
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


class TrialRow(Frozen):
    """One trial.

    Attributes
    ----------
    state : str
        ``complete``, ``pruned``, ``failed`` or ``running``.
    value : float or None
        The objective; of a pruned trial its last epoch's.
    params : dict
        Dotted key of the setting to its value.
    reason : str
        Why it failed.
    """

    number: int
    state: str
    value: float | None = None
    params: dict[str, Any] = {}
    seconds: float | None = None
    epochs: int = 0
    reason: str = ""


class Trials:
    """The trials of one search.

    Parameters
    ----------
    folder : Path
        Of the search, on this machine.
    storage : str
        SQLAlchemy URL, ``journal:PATH``, or empty for SQLite in `folder`.
    identity : str
        Digest of what must be the same for processes to share a study.

    Raises
    ------
    UsageError
        The storage cannot be opened, or holds another search under this name.
    """

    def __init__(
        self,
        folder: Path,
        *,
        storage: str,
        name: str,
        space: Mapping[str, Dimension],
        maximise: bool,
        seed: int,
        startup: int,
        pruner: Literal["none", "median"],
        warmup: int,
        identity: str,
    ) -> None:
        self._space = dict(space)
        self._seed, self._startup = seed, startup
        self._local = not storage
        self.maximise = maximise
        self.place = _place(folder)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        chosen = (
            optuna.pruners.MedianPruner(n_warmup_steps=warmup) if pruner == "median" else optuna.pruners.NopPruner()
        )
        with _opening(storage):
            self._study = optuna.create_study(
                storage=_storage(storage or f"sqlite:///{folder.resolve() / DATABASE}"),
                study_name=name,
                direction="maximize" if maximise else "minimize",
                pruner=chosen,
                load_if_exists=True,
            )
        kept = self._study.user_attrs.get("search")
        if kept is None:
            self._study.set_user_attr("search", identity)
        elif kept != identity:
            raise UsageError(
                f"The storage holds a search {name!r} of other settings, another space or another manifest.",
                "Give another `study`, or the settings of that search.",
            )

    def ask(self) -> int:
        """Begin a trial; return its number. One process of a folder at a time may ask."""
        so_far = len(self._study.get_trials(deepcopy=False))
        drawn = hashlib.sha256(f"{self._seed}\0{so_far}".encode()).digest()
        self._study.sampler = optuna.samplers.TPESampler(
            seed=int.from_bytes(drawn[:4], "big"), n_startup_trials=self._startup
        )
        trial = self._study.ask({key: _distribution(one) for key, one in self._space.items()})
        trial.set_user_attr("place", self.place)
        return trial.number

    def begun_here(self) -> tuple[int, ...]:
        """Numbers of trials of this folder that run, or were killed."""
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        nowhere = self.place if self._local else ""  # killed between asking and saying where
        return tuple(trial.number for trial in running if trial.user_attrs.get("place", nowhere) == self.place)

    def is_open(self, number: int) -> bool:
        """Whether a trial has no answer yet."""
        return self._trial(number).state is TrialState.RUNNING

    def values(self, number: int) -> dict[str, Any]:
        """Return the settings of a trial, by dotted key."""
        return self._decoded(self._trial(number).params)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Note an epoch's score; return whether the trial should be given up, as the pruner judges."""
        frozen = self._trial(number)
        trial = optuna.trial.Trial(self._study, frozen._trial_id)
        if epoch not in frozen.intermediate_values:  # an epoch that is repeated after an interruption
            trial.report(value, epoch)
        return bool(trial.should_prune())

    def complete(self, number: int, value: float) -> None:
        """Answer a trial with its score."""
        self._study.tell(number, value, skip_if_finished=True)

    def prune(self, number: int) -> None:
        """Answer that a trial was given up."""
        self._study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)

    def fail(self, number: int, reason: str) -> None:
        """Answer that a trial failed."""
        optuna.trial.Trial(self._study, self._trial(number)._trial_id).set_user_attr("reason", reason[:500])
        self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def rows(self) -> tuple[TrialRow, ...]:
        """All trials, in the order they were asked for."""
        return tuple(
            TrialRow(
                number=trial.number,
                state=STATES[trial.state],
                value=trial.value,
                params=self._decoded(trial.params),
                seconds=trial.duration.total_seconds() if trial.duration else None,
                epochs=len(trial.intermediate_values),
                reason=trial.user_attrs.get("reason", ""),
            )
            for trial in self._study.get_trials(deepcopy=False)
        )

    def importances(self) -> dict[str, float]:
        """Share of each setting in what moved the score among complete trials; empty where they are too few.

        By PED-ANOVA (Watanabe et al. 2023): how far the better trials' values are from those of all.
        """
        if sum(row.state == "complete" for row in self.rows()) < max(self._startup, 4):
            return {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.importance.get_param_importances(self._study)
        except (ValueError, RuntimeError) as error:
            logging.getLogger("resdx").warning("Importances cannot be told: %s", error)
            return {}

    def _trial(self, number: int) -> optuna.trial.FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]

    def _decoded(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: json.loads(value) if isinstance(self._space.get(key), Choice) else value
            for key, value in sorted(params.items())
        }


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.words)
    if isinstance(dimension, FloatRange):
        return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _storage(storage: str) -> optuna.storages.BaseStorage:
    if storage.startswith(JOURNAL):
        return optuna.storages.JournalStorage(JournalFileBackend(storage.removeprefix(JOURNAL)))
    waits = {"connect_args": {"timeout": WAIT_SECONDS}} if make_url(storage).get_backend_name() == "sqlite" else {}
    return optuna.storages.RDBStorage(storage, engine_kwargs={"pool_pre_ping": True} | waits)


@contextmanager
def _opening(storage: str) -> Iterator[None]:
    try:
        yield
    except (ImportError, OSError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = without_credentials(" ".join(str(error).split()))[:300]
        raise UsageError(
            f"The storage {without_credentials(storage) or DATABASE} cannot be opened: {reason}",
            "Give a SQLAlchemy URL whose driver is installed, journal:PATH, or leave `storage` empty.",
        ) from error


def _place(folder: Path) -> str:
    path = folder / PLACE
    if not path.is_file():
        atomic.write_text(path, uuid.uuid4().hex + "\n")
    return path.read_text(encoding="utf-8").strip()
