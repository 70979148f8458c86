"""The learning rate of each group of parameters, set before each step."""

import math
from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pipeline.training.schedules import Constant, OneCycle, Plateau, Schedule, Steps, WarmupCosine
from pipeline.training.settings import TrainingSettings


class StepwiseRate(LambdaLR):
    """Sets learning rate, and the momentum of one cycle, from one schedule for each group of parameters."""

    def __init__(self, optimizer: Optimizer, schedules: Sequence[Schedule], *, cycle_momentum: bool = False) -> None:
        self._cycles = cycle_momentum
        super().__init__(optimizer, list(schedules))

    def get_lr(self) -> list[float | Any]:
        """Learning rates at the current step; sets the momentum too."""
        if self._cycles:
            for group, schedule in zip(self.optimizer.param_groups, self.lr_lambdas, strict=True):
                assert isinstance(schedule, OneCycle)
                momentum = schedule.momentum(self.last_epoch)
                group |= {"betas": (momentum, group["betas"][1])} if "betas" in group else {"momentum": momentum}
        return super().get_lr()

    def judge(self, score: float) -> None:
        """Tell schedules that wait for it what validation scored, and set the rates anew."""
        waiting = [schedule for schedule in self.lr_lambdas if isinstance(schedule, Plateau)]
        for schedule in waiting:
            schedule.judge(score)
        if waiting:
            factors = [schedule(self.last_epoch) for schedule in self.lr_lambdas]
            self._last_lr = [base * factor for base, factor in zip(self.base_lrs, factors, strict=True)]
            for group, rate in zip(self.optimizer.param_groups, self._last_lr, strict=True):
                group["lr"] = rate


def make_scheduler(optimizer: Optimizer, settings: TrainingSettings, steps: int, starts: Sequence[int]) -> StepwiseRate:
    """Make the scheduler that the settings ask for.

    Parameters
    ----------
    steps : int
        Optimizer steps an epoch.
    starts : sequence of int
        Of each group of parameters: the epochs that it stands still before it trains.
    """
    schedules = [make_schedule(settings, steps, start * steps) for start in starts]
    cycles = settings.schedule.kind == "one_cycle" and settings.schedule.cycle_momentum
    return StepwiseRate(optimizer, schedules, cycle_momentum=cycles)


def make_schedule(settings: TrainingSettings, steps: int, start: int = 0) -> Schedule:
    """Make the schedule of one group of parameters, which trains from step `start` on; see :func:`make_scheduler`."""
    given, epochs = settings.schedule, settings.epochs
    total = epochs * steps
    warmup = round(total * min(1.0, settings.warmup_epochs / epochs))
    match given.kind:
        case "cosine":
            return WarmupCosine(warmup, total, settings.final_rate, start)
        case "one_cycle":
            return OneCycle(total, given.rise, given.start_divisor, given.final_divisor, start)
        case "step":
            every = given.drop_every
            at = given.drop_at or [every * n for n in range(1, math.ceil(epochs / every))]
            return Steps(warmup, given.factor, tuple(round(epoch * steps) for epoch in at), start)
        case "plateau":
            return Plateau(warmup, given.factor, given.patience, given.least_gain, given.least_rate, start)
        case "constant":
            return Constant(warmup, start)
