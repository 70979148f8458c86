"""Run the training of one network, from wherever it stopped."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pytorch_lightning as pl
import torch.utils.deterministic
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import SIGTERMException

from pipeline import atomic
from pipeline.data.datamodule import CaseDataModule
from pipeline.domain.case import Split
from pipeline.domain.frozen import Frozen
from pipeline.domain.journal import Journal
from pipeline.errors import StoppedBySignal, TrainingError
from pipeline.networks.classifier import Classifier
from pipeline.networks.layout import lay_out
from pipeline.training.callbacks import EpochBar, NonFiniteGuard, Recorder
from pipeline.training.checkpoints import LAST, SealedCheckpointIO, resumable
from pipeline.training.finetuning.thawing import Thawing
from pipeline.training.finetuning.tuning import Tuning
from pipeline.training.keeping import IN_VALIDATION, KeepBest, KeepLast, StopEarly
from pipeline.training.losses import FindingsLoss, check_learnable, training_loss
from pipeline.training.missing_classes import AUROC_ASKED, check_auroc
from pipeline.training.module import TrainingModule
from pipeline.training.parts import Parts, free_memory, is_out_of_memory
from pipeline.training.precision import PrecisionChoice
from pipeline.training.precision.devices import float32_products
from pipeline.training.precision.kept import keep_in_float32
from pipeline.training.ranks import check_joined
from pipeline.training.run_folder import CHECKPOINTS
from pipeline.training.sealed import previous
from pipeline.training.selection import has_auroc
from pipeline.training.settings import SHARDING, TrainingSettings
from pipeline.training.watch.depth import DepthWatch
from pipeline.training.watch.overfitting import OverfittingWatch

log = logging.getLogger("resdx")

WATCHED = "watched"
"""Folder of charts and tables of what was watched."""

FITTED = "fitted.json"
"""Written once training has ended; a run that has it does not train again."""


class Fitted(Frozen):
    """Outcome of a training.

    Attributes
    ----------
    monitor : str
        ``auroc`` or ``loss``: what chose the best epoch.
    best_epoch : int
        Counted from 1.
    history : tuple of dict
        One an epoch; see :attr:`pipeline.training.callbacks.Recorder.history`.
    stopped_early : bool
    warnings : tuple of str
        Of vanishing or exploding gradients, each naming its stage.
    """

    monitor: str
    best_epoch: int
    history: tuple[dict[str, float], ...]
    stopped_early: bool
    warnings: tuple[str, ...] = ()

    @property
    def best(self) -> dict[str, float]:
        """What the best epoch measured."""
        return self.history[self.best_epoch - 1]


def fit(
    classifier: Classifier,
    data: pl.LightningDataModule,
    settings: TrainingSettings,
    *,
    labels: Mapping[Split, NDArray[np.int64]],
    folder: Path,
    precision: PrecisionChoice,
    journal: Journal,
    seed: int,
    beside: Sequence[Callback] = (),
) -> Fitted:
    """Train, or go on with a training that was interrupted.

    ``folder/checkpoints`` receives ``best.ckpt`` and ``last.ckpt``, each with its sha256, and the one before of each
    (``last.previous.ckpt``), which is used where the last is damaged. Where they exist, training goes on from them: on
    a CPU with the same number of threads, what comes out equals an uninterrupted run bit for bit.

    Parameters
    ----------
    classifier : Classifier
        With its first weights, and made ready by :func:`pipeline.training.finetuning.beginning.begin`; trained in
        place.
    data : LightningDataModule
        Whose order and augmentation follow from (seed, epoch), with loaders that can go on within an epoch.
    labels : mapping of Split to ndarray of int64, shape (cases, columns)
        Of training (class weights) and validation (what chooses the best epoch).
    folder : Path
        Of the run.
    seed : int
        Of dropout and stochastic depth.
    beside : sequence of Callback
        Look on, and change nothing.

    Returns
    -------
    Fitted
        Load the weights with :func:`pipeline.training.checkpoints.best_weights`.

    Raises
    ------
    TrainingError
        A loss or gradient is not finite, all checkpoints are damaged, or a finding cannot be learned.
    DiskFull
    StoppedBySignal
        SIGTERM arrived; the state is saved.
    """
    findings = classifier.findings
    checkpoints = folder / CHECKPOINTS
    if (checkpoints / FITTED).is_file():
        return Fitted.model_validate_json((checkpoints / FITTED).read_bytes())
    check_learnable(findings, labels[Split.TRAIN])
    visits = data.visits if isinstance(data, CaseDataModule) else None
    loss = training_loss(findings, labels[Split.TRAIN], settings, visits)
    by_auroc = choose_monitor(settings, classifier, labels[Split.VALIDATION])
    memory_format = precision.memory_format(classifier.backbone.ndim)
    lay_out(classifier, memory_format)
    keep_in_float32(classifier, precision.kept)
    first = {name: tensor.cpu().clone() for name, tensor in classifier.state_dict().items()}

    def attempt() -> Fitted | None:
        most = None if settings.micro_batch == "auto" else settings.micro_batch
        parts = Parts(checkpoints, most)
        return _fit(
            classifier, loss, data, settings, parts, folder, precision, memory_format, journal, seed, by_auroc, beside
        )

    while (fitted := attempt()) is None:
        free_memory()
        classifier.load_state_dict(first)  # where there is no checkpoint yet
    return fitted


def _fit(
    classifier: Classifier,
    loss: FindingsLoss,
    data: pl.LightningDataModule,
    settings: TrainingSettings,
    parts: Parts,
    folder: Path,
    precision: PrecisionChoice,
    memory_format: torch.memory_format,
    journal: Journal,
    seed: int,
    by_auroc: bool,
    beside: Sequence[Callback],
) -> Fitted | None:
    """Train from the last checkpoint on; None if memory ran out, and smaller parts are to be tried from there."""
    checkpoints = folder / CHECKPOINTS
    tuning = Tuning(settings.finetune, classifier, settings.epochs)
    module = TrainingModule(
        classifier,
        loss,
        settings,
        tuning=tuning,
        seed=seed,
        memory_format=memory_format,
        by_auroc=by_auroc,
        parts=parts,
    )
    recorder = Recorder(journal)
    watch = DepthWatch(settings, folder / WATCHED, journal)
    watching = [module.stopping, Thawing(tuning, classifier), *_watching(settings, watch, data, seed)]
    best = KeepBest(checkpoints)
    trainer = make_trainer(settings, precision, checkpoints, recorder, [*watching, *beside, best])
    check_joined(trainer)
    # the first process alone repairs; the others load after it, when all have met
    resumed = resumable(checkpoints) if trainer.is_global_zero else _of_another(checkpoints)
    with _quiet(), _lightning_takes_sigterm(), float32_products(precision.precision, trainer.strategy.root_device):
        try:
            trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
        except SIGTERMException as stop:
            raise stopped(trainer.current_epoch + 1, validating=IN_VALIDATION in stop.args) from stop
        except SystemExit as stop:  # Lightning ends the process where it was interrupted
            raise KeyboardInterrupt from stop
        except (RuntimeError, MemoryError) as error:
            if not (is_out_of_memory(error) and parts.tried) or settings.strategy.startswith(SHARDING):
                raise
            parts.shrink()
            if trainer.world_size > 1:
                raise TrainingError(
                    "Memory of one of several processes ran out.",
                    "Give the same command again: it goes on from the last checkpoint with fewer cases at once.",
                ) from error
            return None
    fitted = _summarise(recorder, by_auroc, settings, best, (*watch.warnings, *parts.told))
    if parts.told:
        journal.tags({"resdx.memory": parts.told[0]})
    if trainer.is_global_zero:
        atomic.write_text(checkpoints / FITTED, fitted.model_dump_json(indent=2) + "\n")
    if module.stopping.asked and not module.stopping.agreed:  # of several ranks, behind the last step
        raise stopped(len(fitted.history))
    return fitted


def _watching(
    settings: TrainingSettings, watch: DepthWatch, data: pl.LightningDataModule, seed: int
) -> Iterator[Callback]:
    """Yield the watches that are wanted; the gap needs cases that can be looked at without augmentation."""
    if settings.depth_watch.enabled:
        yield watch
    if settings.overfitting_watch.enabled and isinstance(data, CaseDataModule):
        yield OverfittingWatch(settings.overfitting_watch, data, seed)


def make_trainer(
    settings: TrainingSettings,
    precision: PrecisionChoice,
    checkpoints: Path,
    recorder: Recorder,
    watching: Sequence[Callback] = (),
) -> pl.Trainer:
    """Lightning's Trainer with our callbacks and none of its own."""
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
    with _quiet():
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


def stopped(epoch: int, *, validating: bool = False) -> StoppedBySignal:
    """Say where SIGTERM stopped a training, and what the same command begins with."""
    if validating:
        remedy = "All steps are saved; the same command goes on with this validation, from its first case."
        return StoppedBySignal(f"Stopped by SIGTERM in the validation of epoch {epoch}.", remedy)
    remedy = "Everything is saved; the same command goes on from here."
    return StoppedBySignal(f"Stopped by SIGTERM in epoch {epoch}.", remedy)


def choose_monitor(settings: TrainingSettings, classifier: Classifier, validation: NDArray[np.int64]) -> bool:
    """Whether AUROC chooses the best epoch.

    Raises
    ------
    TrainingError
        AUROC is asked for and validation lacks a class.
    """
    if settings.monitor == "loss":
        return False
    if settings.monitor == "auroc":
        check_auroc(classifier.findings, validation, AUROC_ASKED)
    possible = has_auroc(classifier.findings, validation)
    if not possible:
        log.warning("AUROC is not defined on this validation split; the best epoch is chosen by its loss.")
    return possible


def _of_another(checkpoints: Path) -> Path | None:
    """Where the first process will have put the checkpoint to go on from, whichever it finds whole."""
    last = checkpoints / LAST
    return last if previous(last).is_file() or last.is_file() else None


def _summarise(
    recorder: Recorder, by_auroc: bool, settings: TrainingSettings, best: KeepBest, told: tuple[str, ...]
) -> Fitted:
    if not best.epoch:
        raise TrainingError(
            "No epoch has a finite score on validation, so none is the best.",
            "Look at the validation split; train with plan.precision=32 or a lower training.learning_rate.",
        )
    return Fitted(
        monitor="auroc" if by_auroc else "loss",
        best_epoch=best.epoch,
        history=tuple(recorder.history),
        stopped_early=len(recorder.history) < settings.epochs,
        warnings=(*told, *best.told),
    )


@contextmanager
def _lightning_takes_sigterm() -> Iterator[None]:
    """Let Lightning stop between batches, rather than a handler of ours within one; before and after it ours acts."""
    ours = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(ours):
        yield
        return

    def unless_lightning(number: int, frame: FrameType | None) -> None:
        # Lightning calls the handler that it found besides its own
        if signal.getsignal(signal.SIGTERM) is unless_lightning:
            ours(number, frame)

    signal.signal(signal.SIGTERM, unless_lightning)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, ours)


@contextmanager
def _quiet() -> Iterator[None]:
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
