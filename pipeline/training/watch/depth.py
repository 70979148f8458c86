"""Watches gradients, residual branches and updates by depth while a network trains."""

import csv
import io
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.precision import MixedPrecision
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from pipeline import atomic
from pipeline.data.batch import Batch
from pipeline.domain.journal import Journal
from pipeline.errors import DiskFull, TrainingError
from pipeline.training.module import TrainingModule
from pipeline.training.settings import TrainingSettings
from pipeline.training.watch.chart import save_chart
from pipeline.training.watch.measures import DepthRecord, StepMeasure
from pipeline.training.watch.places import Place, places_of
from pipeline.training.watch.residual_ratio import ResidualRatios
from pipeline.training.watch.symptoms import Watchman

log = logging.getLogger("resdx")

CHART = "depth.png"
TABLE = "depth.csv"
ARTIFACTS = "depth"

MOST_RECORDS = 64
"""Measurements kept for chart and table; beyond it every second one goes. All are in the journal, by stage."""

DRAWING_SECONDS = 60.0
"""Between two drawings of the chart, which take a quarter of a second: a killed run has one of about this age."""


class DepthWatch(Callback):
    """Measures every so many optimizer steps, on the first process alone; changes nothing.

    Where steps are compiled, those that are measured run without the compiler, equal within rounding.

    Gradients are taken where they are whole: averaged over accumulated batches and devices, without the scale of mixed
    precision, before clipping. Must stand before callbacks that save checkpoints or stop at gradients that are not
    finite.

    Parameters
    ----------
    settings : TrainingSettings
        How often is measured, and what a warning may advise.
    folder : Path
        Receives :data:`CHART` and :data:`TABLE`.
    """

    def __init__(self, settings: TrainingSettings, folder: Path, journal: Journal) -> None:
        self.records: list[DepthRecord] = []
        self._settings = settings
        self._folder = folder
        self._journal = journal
        self._places: tuple[Place, ...] = ()
        self._ratios = ResidualRatios(())
        self._watchman: Watchman | None = None
        self._restored: dict[str, Any] = {}
        self._pending: StepMeasure | None = None
        self._drawn = 0.0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was told so far."""
        return tuple(self._told()["told"]) if self._told() else ()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Find the places of the network."""
        assert isinstance(module, TrainingModule)
        self._places = places_of(module.classifier)
        self._ratios = ResidualRatios(self._places)
        self._pending = None
        self._drawn = time.monotonic()
        plugin, strategy = trainer.precision_plugin, trainer.strategy
        scaled = isinstance(plugin, MixedPrecision) and plugin.scaler is not None
        self._watchman = Watchman(module.classifier, self._settings, scaled=scaled)
        if self._restored:
            self._watchman.restore(self._restored)
        if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
            log.info("Gradients by depth are not watched: %s keeps them in shares.", type(strategy).__name__)
            self._places = ()

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Listen to this forward pass if its step is measured."""
        assert isinstance(module, TrainingModule)
        module.eager = self._due(trainer)  # a compiled network calls no hooks
        if module.eager:
            self._ratios.arm()

    def on_before_backward(self, trainer: pl.Trainer, module: pl.LightningModule, loss: Tensor) -> None:
        """Listen no more: checkpointed blocks run again in the backward pass."""
        self._ratios.disarm()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Measure gradients and keep the weights."""
        if self._due(trainer):
            self._pending = self._measure(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Measure what the step has changed."""
        self._record(stepped=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draw now and then, so that a killed run has a chart."""
        if time.monotonic() - self._drawn >= DRAWING_SECONDS:
            self._draw(trainer)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Draw."""
        self._draw(trainer)

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        """Name the stages if it was gradients that stopped the run, and draw, if there is room for it."""
        self._ratios.disarm()
        if isinstance(exception, DiskFull):
            return
        if self._pending is None and isinstance(exception, TrainingError) and trainer.is_global_zero and self._places:
            found = self._measure(trainer)
            self._pending = None if found.finite else found
        self._record(stepped=False)
        self._draw(trainer)

    def state_dict(self) -> dict[str, Any]:
        """Measurements and warnings so far."""
        return {"records": [record.model_dump() for record in self.records], "told": self._told()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See :meth:`state_dict`."""
        self.records = [DepthRecord.model_validate(record) for record in state_dict["records"]]
        self._restored = state_dict["told"]

    def _told(self) -> dict[str, Any]:
        return self._watchman.state() if self._watchman else self._restored

    def _due(self, trainer: pl.Trainer) -> bool:
        step = trainer.global_step + 1
        return (
            bool(self._places)
            and trainer.is_global_zero
            and (step == 1 or step % self._settings.depth_watch.every == 0)
        )

    def _measure(self, trainer: pl.Trainer) -> StepMeasure:
        measure = StepMeasure(trainer.global_step + 1, self._places, self._ratios.values())
        self._ratios.forget()
        return measure

    def _record(self, *, stepped: bool) -> None:
        if self._pending is None:
            return
        record = self._pending.finish(stepped=stepped)
        self._pending = None
        self.records.append(record)
        if len(self.records) > MOST_RECORDS:
            self.records = [*self.records[:-1:2], self.records[-1]]
        self._journal.metrics(record.metrics(), step=record.step)
        assert self._watchman is not None
        for message in self._watchman.look(record):
            log.warning("%s", message)
            self._journal.tags({"resdx.gradients": " ".join(self._watchman.told)})

    def _draw(self, trainer: pl.Trainer) -> None:
        if not (self.records and trainer.is_global_zero):  # where a run goes on, all ranks have the records
            return
        self._drawn = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._journal.artifact(save_chart(self._folder / CHART, self.records), ARTIFACTS)
        atomic.write_text(self._folder / TABLE, depth_table(self.records))
        self._journal.artifact(self._folder / TABLE, ARTIFACTS)


def depth_table(records: Sequence[DepthRecord]) -> str:
    """CSV of all kept measurements, one row a step and place; blank where there is nothing to measure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("step", "stage", "place", "gradient", "weight", "update", "residual_ratio"))
    for record in records:
        for place, stage in record.stages.items():
            kinds = (record.gradient, record.weight, record.update, record.residual)
            figures = (f"{kind[place]:.6g}" if place in kind else "" for kind in kinds)
            writer.writerow((record.step, stage, place, *figures))
    return text.getvalue()
