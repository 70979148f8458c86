"""What happens around the steps: guards, the record and the progress of a run."""

import logging
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.precision import MixedPrecision
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.nn.utils import get_total_norm

from pipeline.data.batch import Batch
from pipeline.domain.journal import Journal
from pipeline.errors import TrainingError
from pipeline.training.finetuning.rates import stage_rates
from pipeline.training.module import TrainingModule
from pipeline.training.step_times import StepTimes
from pipeline.training.stepping import stepped_parameters, steps_whole_gradients

log = logging.getLogger("resdx")

NAMED_CASES = 16
"""A message names at most this many cases."""


SKIPPED_STEPS = 40
"""Steps that a gradient scaler may skip in a row: its first scale, 2^16, is by then 2^-24, where float16 ends."""

STEP_LOSS = "train/step_loss"


class NonFiniteGuard(Callback):
    """Stops at the first loss or gradient that is not finite, before any weight takes it in.

    A gradient scaler (16-mixed) skips a step whose gradients are not finite and halves its scale; if it skips
    :data:`SKIPPED_STEPS` in a row, no scale will do, and the run stops too.
    """

    def __init__(self) -> None:
        self._skipped = 0

    def on_before_backward(self, trainer: pl.Trainer, module: pl.LightningModule, loss: Tensor) -> None:
        """Check the loss."""
        assert isinstance(module, TrainingModule)
        if not loss.isfinite():
            self._stop(trainer, module, f"the loss is {float(loss.detach()):g}")

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Check the gradients, which a gradient scaler has unscaled by now, by the norm that clipping takes over."""
        assert isinstance(module, TrainingModule)
        plugin = trainer.precision_plugin
        scaled = isinstance(plugin, MixedPrecision) and plugin.scaler is not None
        norm = get_total_norm([p.grad for p in stepped_parameters(optimizer) if p.grad is not None])
        if norm.isfinite():
            self._skipped = 0
            module.gradient_norm = norm if steps_whole_gradients(trainer) else None
            return
        self._skipped += 1
        if not scaled or self._skipped >= SKIPPED_STEPS:
            gradients = {name: p.grad for name, p in module.classifier.named_parameters() if p.grad is not None}
            bad = next((name for name, grad in gradients.items() if not grad.isfinite().all()), "all weights together")
            often = f", for {self._skipped} steps in a row" if scaled else ""
            self._stop(trainer, module, f"the gradient of {bad} is not finite{often}")

    def state_dict(self) -> dict[str, Any]:
        """How many steps were skipped in a row."""
        return {"skipped": self._skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See :meth:`state_dict`."""
        self._skipped = state_dict["skipped"]

    @staticmethod
    def _stop(trainer: pl.Trainer, module: TrainingModule, what: str) -> None:
        cases = module.case_ids
        shown = ", ".join(cases[:NAMED_CASES]) + (f" and {len(cases) - NAMED_CASES} more" * (len(cases) > NAMED_CASES))
        raise TrainingError(
            f"Epoch {trainer.current_epoch + 1}, step {trainer.global_step + 1}: {what}; cases of this step: {shown}.",
            "Look at these cases; train with plan.precision=32 or a lower training.learning_rate. Checkpoints hold "
            "the state before it.",
        )


class Recorder(Callback):
    """Writes what steps and epochs measured to the journal, and keeps the history of the run through interruptions.

    A measurement goes to the journal once a checkpoint holds it (:meth:`publish`): what is repeated after an
    interruption was not told before, and what was not told when a run was killed is told when it goes on.

    Attributes
    ----------
    history : list of dict
        One an epoch: ``epoch`` (from 1), ``train/loss``, ``train/auxiliary`` where measurements are learned too (their
        mean squared error in standard deviations, before it is weighed), ``train/turns`` where turns are (their mean
        cross entropy), ``val/...``, ``learning_rate`` (of the heads, where stages have their own as
        ``learning_rate/STAGE``). Without times, so that a resumed run's equals an uninterrupted one's.
    """

    def __init__(self, journal: Journal) -> None:
        self.history: list[dict[str, float]] = []
        self.seconds_per_epoch: list[float] = []
        self._journal = journal
        self._losses: list[tuple[int, float]] = []
        self._sums = (0.0, 0.0)
        self._epochs: list[int] = []
        self._clocks: dict[int, dict[str, float]] = {}
        self._writes = False
        self._started = 0.0
        self._training_seconds = 0.0
        self._cases = 0
        self._times = StepTimes()

    def on_fit_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Tell what a run that goes on may not have told."""
        self._writes = trainer.is_global_zero
        self.publish()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock where a run goes on within an epoch, whose start is not called again."""
        self._started, self._cases = time.monotonic(), 0
        self._times.restart()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started, self._cases = time.monotonic(), 0
        self._times.restart()

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Stop the clock of waiting."""
        self._times.arrived()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Stop the clock of computing, count, and keep the loss of a step: mean over its cases, on all ranks."""
        self._times.done()
        assert isinstance(module, TrainingModule)
        count = len(batch.case_id)
        self._cases += count * trainer.world_size
        self._sums = (self._sums[0] + module.batch_loss * count, self._sums[1] + count)
        if (batch_idx + 1) % trainer.accumulate_grad_batches and batch_idx + 1 < trainer.num_training_batches:
            return
        loss, cases = self._sums
        if trainer.world_size > 1:
            sums = torch.tensor(self._sums, dtype=torch.float64, device=module.device)
            torch.distributed.all_reduce(sums)
            loss, cases = sums.tolist()
        self._losses.append((trainer.global_step, loss / cases))
        self._sums = (0.0, 0.0)

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Stop the clock of training: what follows is validation."""
        self._training_seconds = time.monotonic() - self._started

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Record the epoch."""
        assert isinstance(module, TrainingModule)
        epoch = trainer.current_epoch + 1
        rates = trainer.lr_scheduler_configs[0].scheduler.get_last_lr()
        values = {
            **module.mean_losses(),
            **module.measured,
            "learning_rate": float(rates[0]),
            **stage_rates(trainer.optimizers[0].param_groups, rates),
        }
        self.history.append({"epoch": float(epoch), **values})
        seconds = time.monotonic() - self._started
        self.seconds_per_epoch.append(seconds)
        rate = self._cases / max(self._training_seconds, 1e-9)
        self._epochs.append(epoch)
        self._clocks[epoch] = {"cases_per_second": rate, "epoch_seconds": seconds} | self._times.metrics()
        if trainer.is_global_zero:
            log.info("%s", self._line(values, rate, epoch, trainer.max_epochs or epoch))

    def _line(self, values: dict[str, float], rate: float, epoch: int, epochs: int) -> str:
        parts = [f"epoch {epoch} of {epochs}: train loss {values['train/loss']:.4f}, val loss {values['val/loss']:.4f}"]
        if "val/auroc" in values:
            parts.append(f"val AUROC {values['val/auroc']:.4f}")
        left = (epochs - epoch) * sum(self.seconds_per_epoch) / len(self.seconds_per_epoch)
        parts += [f"learning rate {values['learning_rate']:.2e}", f"{rate:.0f} cases/s", f"{left:.0f} s left"]
        return ", ".join(parts)

    def publish(self) -> None:
        """Write to the journal what was measured since the last time; a checkpoint holds it by now."""
        if self._writes:
            self._journal.curve(STEP_LOSS, self._losses)
            for epoch in self._epochs:
                values = {name: value for name, value in self.history[epoch - 1].items() if name != "epoch"}
                self._journal.metrics(values | self._clocks.get(epoch, {}), step=epoch)
        self._losses, self._epochs = [], []

    def state_dict(self) -> dict[str, Any]:
        """History so far, and what the journal may not hold yet."""
        return {"history": self.history, "losses": list(self._losses), "epochs": list(self._epochs)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See :meth:`state_dict`."""
        self.history = [dict(entry) for entry in state_dict["history"]]
        self._losses = [(int(step), float(loss)) for step, loss in state_dict["losses"]]
        self._epochs = list(state_dict["epochs"])


class EpochBar(Callback):
    """A bar over the batches of each epoch, on a terminal only."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task = TaskID(0)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Show a fresh bar."""
        if not (trainer.is_global_zero and sys.stderr.isatty()):
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._progress.start()
        title = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
        self._task = self._progress.add_task(title, total=int(trainer.num_training_batches))

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Move on."""
        if self._progress is not None:
            self._progress.update(self._task, completed=batch_idx + 1)

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Take the bar away."""
        self._close()

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._close()

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
