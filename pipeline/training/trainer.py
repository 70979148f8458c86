"""Lightning's Trainer as we use it: our callbacks, none of its own, and none of its talk."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch.utils.deterministic
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback

from pipeline.errors import TrainingError
from pipeline.training.callbacks import EpochBar, NonFiniteGuard, Recorder
from pipeline.training.checkpoints import SealedCheckpointIO
from pipeline.training.keeping import KeepLast, StopEarly
from pipeline.training.precision import PrecisionChoice
from pipeline.training.settings import TrainingSettings


def make_trainer(
    settings: TrainingSettings,
    precision: PrecisionChoice,
    checkpoints: Path,
    recorder: Recorder,
    watching: Sequence[Callback] = (),
) -> pl.Trainer:
    """Lightning's Trainer with our callbacks and none of its own.

    Raises
    ------
    TrainingError
        The devices and the strategy do not go together, or are not here.
    """
    callbacks: list[Callback] = [
        *watching,
        recorder,
        NonFiniteGuard(),
        EpochBar(),
        KeepLast(checkpoints, settings.checkpoint_steps, recorder.publish),
    ]
    if settings.early_stopping:
        callbacks.append(StopEarly(settings.early_stopping))
    # deterministic algorithms would also fill every new tensor, which costs time and changes nothing here
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # torch's own property
    with quiet():
        try:
            return pl.Trainer(
                accelerator=settings.accelerator,
                devices=settings.devices,
                num_nodes=settings.num_nodes,
                strategy=settings.strategy,
                precision=precision.lightning,
                max_epochs=settings.epochs,
                accumulate_grad_batches=settings.accumulate,
                gradient_clip_val=settings.gradient_clip or None,
                callbacks=callbacks,
                plugins=[SealedCheckpointIO()],
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                deterministic="warn",  # 3D max pooling has no deterministic gradient on a GPU
                default_root_dir=checkpoints.parent,
            )
        except (ValueError, MisconfigurationException) as error:
            raise TrainingError(
                f"Lightning cannot train on these devices: {error}",
                f"Now training.accelerator={settings.accelerator}, devices={settings.devices}, "
                f"num_nodes={settings.num_nodes}, strategy={settings.strategy}.",
            ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Lightning's banners and advice, which are not meant for our users, off the screen."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric)\b")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
