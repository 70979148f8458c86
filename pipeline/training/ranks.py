"""Several processes that train one network: which of them this is, and what they must agree on at each step."""

import os
import signal
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
import torch.distributed
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from pipeline.errors import TrainingError

RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
"""Where torchrun, SLURM and Lightning say which of several processes this is."""


class WholeStep(NamedTuple):
    """A step's batch over all ranks.

    Attributes
    ----------
    known_labels : tuple of int
        Of each finding.
    cases : int
    stop : bool
        Whether a rank was asked to stop.
    """

    known_labels: tuple[int, ...]
    cases: int
    stop: bool


def rank_of(environment: Mapping[str, str] = os.environ) -> int:
    """Return the number of this process among those that train together; 0 decides, records and packs.

    Where Lightning starts the processes of each machine (NODE_RANK), those of later ones are numbered from 1 too: the
    exact number is not known before they join.
    """
    found = next((int(environment[name]) for name in RANKS if environment.get(name)), 0)
    return found or int(environment.get("NODE_RANK") or 0)


def check_joined(trainer: pl.Trainer) -> None:
    """Refuse processes that were started together and would train each on its own.

    Raises
    ------
    TrainingError
        Saying what to set.
    """
    if bool(trainer.global_rank) != bool(rank_of()):
        raise TrainingError(
            f"This process was started as number {rank_of()} of several, and would train as number "
            f"{trainer.global_rank} of {trainer.world_size}.",
            "Set training.devices to the processes of a machine and training.num_nodes to the number of machines.",
        )


def summed(values: Sequence[float], module: pl.LightningModule) -> list[float]:
    """Sum numbers over all ranks, in double precision; all of them must call it."""
    if module.trainer.world_size == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=module.device)
    torch.distributed.all_reduce(total)
    found: list[float] = total.tolist()
    return found


def whole_step(known_labels: Tensor, cases: int, stop: bool, module: pl.LightningModule) -> WholeStep:
    """Sum a step's counts over all ranks; all of them must call it.

    Parameters
    ----------
    known_labels : Tensor of int64, shape (findings,)
        Of this rank, as are the others.
    """
    *known, total, asked = summed([*known_labels.tolist(), cases, stop], module)
    return WholeStep(tuple(int(count) for count in known), int(total), asked > 0)


class StopTogether(Callback):
    """Lets several ranks stop behind the same step, whichever of them SIGTERM reaches, and when.

    Lightning's handler makes the ranks talk to each other wherever they are just then, which leaves them waiting for
    one another. What arrives in a validation stops them behind the first step of the next epoch, and in the last one
    behind the training: nothing is repeated, but the grace that a scheduler gives must last for a validation.

    Attributes
    ----------
    asked : bool
        Whether SIGTERM has arrived here.
    agreed : bool
        Whether it has arrived at some rank before the step under way; equal on all.
    """

    def __init__(self) -> None:
        self.asked = self.agreed = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take SIGTERM from Lightning, which gives it back at the end."""
        if trainer.world_size > 1 and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._ask)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Stop behind an epoch that was saved."""
        if self.agreed:
            raise SIGTERMException

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True
