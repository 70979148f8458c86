"""Run the training of one network, from wherever it stopped."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from pipeline import atomic
from pipeline.data.datamodule import CaseDataModule
from pipeline.domain.case import Split
from pipeline.domain.frozen import Frozen
from pipeline.domain.journal import Journal
from pipeline.errors import TrainingError
from pipeline.networks.classifier import Classifier
from pipeline.networks.layout import lay_out
from pipeline.networks.shortage import free_memory, is_out_of_memory
from pipeline.training.auxiliary import Auxiliary
from pipeline.training.callbacks import Recorder
from pipeline.training.checkpoints import LAST, resumable
from pipeline.training.few_cases import chosen_by_few, error_of_mean
from pipeline.training.finetuning.thawing import Thawing
from pipeline.training.finetuning.tuning import Tuning
from pipeline.training.keeping import IN_VALIDATION, KeepBest
from pipeline.training.losses import FindingsLoss, check_learnable, training_loss
from pipeline.training.missing_classes import AUROC_ASKED, check_auroc
from pipeline.training.module import TrainingModule
from pipeline.training.parts import Parts
from pipeline.training.precision import PrecisionChoice
from pipeline.training.precision.devices import float32_products
from pipeline.training.precision.kept import keep_in_float32
from pipeline.training.ranks import check_joined
from pipeline.training.run_folder import CHECKPOINTS
from pipeline.training.sealed import previous
from pipeline.training.selection import has_auroc
from pipeline.training.settings import SHARDING, TrainingSettings
from pipeline.training.stopping import lightning_takes_sigterm, stopped
from pipeline.training.trainer import make_trainer, quiet
from pipeline.training.turns import Turns
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
        ``auroc`` or ``loss``: what chose the best epoch; ``last``: none was chosen.
    best_epoch : int
        That of the model, counted from 1.
    history : tuple of dict
        One an epoch; see :attr:`pipeline.training.callbacks.Recorder.history`.
    stopped_early : bool
    warnings : tuple of str
        Of vanishing or exploding gradients, each naming its stage; of memory, lost epochs, and a choice by few cases.
    """

    monitor: str
    best_epoch: int
    history: tuple[dict[str, float], ...]
    stopped_early: bool
    warnings: tuple[str, ...] = ()

    @property
    def best(self) -> dict[str, float]:
        """What the epoch of the model measured."""
        return self.history[self.best_epoch - 1]

    @property
    def choice(self) -> str:
        """How the epoch of the model came to be it, in words."""
        if self.monitor == "last":
            return f"Last of {len(self.history)} epochs, none chosen on validation"
        return f"Best of {len(self.history)} epochs: {self.best_epoch}, chosen by {self.monitor} on validation"


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
    measures: Mapping[str, Tensor] | None = None,
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
    measures : mapping of str to Tensor, optional
        What ``settings.auxiliary`` learns beside the findings, by training case; see
        :func:`pipeline.training.auxiliary.measures_beside`.

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
    lay_out(classifier, precision.memory_format(classifier.backbone.ndim))
    keep_in_float32(classifier, precision.kept)
    first = {name: tensor.cpu().clone() for name, tensor in classifier.state_dict().items()}

    watchers = tuple(beside)
    validation = labels[Split.VALIDATION]
    job = Job(
        classifier, loss, data, settings, folder, precision, journal, seed, by_auroc, watchers, measures, validation
    )
    most = None if settings.micro_batch == "auto" else settings.micro_batch
    while (fitted := _fit(job, Parts(checkpoints, most))) is None:
        free_memory()
        classifier.load_state_dict(first)  # where there is no checkpoint yet
    return fitted


@dataclass(frozen=True)
class Job:
    """What is trained, on what, how and where; the same for each attempt."""

    classifier: Classifier
    loss: FindingsLoss
    data: pl.LightningDataModule
    settings: TrainingSettings
    folder: Path
    precision: PrecisionChoice
    journal: Journal
    seed: int
    by_auroc: bool
    beside: tuple[Callback, ...]
    measures: Mapping[str, Tensor] | None
    validation_labels: NDArray[np.int64]

    @property
    def memory_format(self) -> torch.memory_format:
        """How images lie in memory."""
        return self.precision.memory_format(self.classifier.backbone.ndim)

    def auxiliary(self) -> Auxiliary | None:
        """Make a fresh head for the measurements that are learned beside the findings."""
        if self.measures is None:
            return None
        return Auxiliary(self.settings.auxiliary, self.classifier.backbone.features, self.measures)

    def turns(self) -> Turns | None:
        """Make what turns images, where their turns are learned."""
        settings = self.settings.auxiliary
        return Turns(settings, self.classifier.backbone.features, self.seed) if settings.turns else None


def _fit(job: Job, parts: Parts) -> Fitted | None:
    """Train from the last checkpoint on; None if memory ran out, and smaller parts are to be tried from there."""
    settings, precision, journal, checkpoints = job.settings, job.precision, job.journal, job.folder / CHECKPOINTS
    tuning = Tuning(settings.finetune, job.classifier, settings.epochs)
    module = TrainingModule(
        job.classifier,
        job.loss,
        settings,
        tuning=tuning,
        seed=job.seed,
        memory_format=job.memory_format,
        by_auroc=job.by_auroc,
        parts=parts,
        compile_steps=precision.compiled,
        auxiliary=job.auxiliary(),
        turns=job.turns(),
    )
    recorder = Recorder(journal)
    watch = DepthWatch(settings, job.folder / WATCHED, journal)
    watching = [module.stopping, Thawing(tuning, job.classifier), *_watching(settings, watch, job.data, job.seed)]
    best = KeepBest(checkpoints, settings.epochs if settings.monitor == "last" else 0)
    trainer = make_trainer(settings, precision, checkpoints, recorder, [*watching, *job.beside, best])
    check_joined(trainer)
    # the first process alone repairs; the others load after it, when all have met
    resumed = resumable(checkpoints) if trainer.is_global_zero else _of_another(checkpoints)
    with quiet(), lightning_takes_sigterm(), float32_products(precision.precision, trainer.strategy.root_device):
        try:
            trainer.fit(module, datamodule=job.data, ckpt_path=resumed, weights_only=True)
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
    fitted = _summarise(job, recorder, best, (*watch.warnings, *parts.told))
    if parts.told:
        journal.tags({"resdx.memory": parts.told[0]})
    if trainer.is_global_zero:
        atomic.write_text(checkpoints / FITTED, fitted.model_dump_json(indent=2) + "\n")
    if module.stopping.asked or module.stopping.agreed:  # of several ranks, too late for a step to stop behind
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


def choose_monitor(settings: TrainingSettings, classifier: Classifier, validation: NDArray[np.int64]) -> bool:
    """Whether AUROC scores an epoch, else the loss does; the score chooses the best one unless the last is kept.

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
    if not possible and settings.monitor != "last":
        log.warning("AUROC is not defined on this validation split; the best epoch is chosen by its loss.")
    return possible


def _of_another(checkpoints: Path) -> Path | None:
    """Where the first process will have put the checkpoint to go on from, whichever it finds whole."""
    last = checkpoints / LAST
    return last if previous(last).is_file() or last.is_file() else None


def _summarise(job: Job, recorder: Recorder, best: KeepBest, told: tuple[str, ...]) -> Fitted:
    if not best.epoch and best.told:
        raise TrainingError(
            f"All epochs are done, but the weights of the best were lost to a damaged file in {job.folder}.",
            "Train anew in another `out`.",
        )
    if not best.epoch:
        raise TrainingError(
            "No epoch has a finite score on validation, so none is the best.",
            "Look at the validation split; train with plan.precision=32 or a lower training.learning_rate.",
        )
    fitted = Fitted(
        monitor="last" if job.settings.monitor == "last" else "auroc" if job.by_auroc else "loss",
        best_epoch=best.epoch,
        history=tuple(recorder.history),
        stopped_early=len(recorder.history) < job.settings.epochs,
        warnings=(*told, *best.told),
    )
    if fitted.monitor != "auroc":
        return fitted
    error = error_of_mean(job.classifier.findings, job.validation_labels, fitted.best["val/auroc"])
    few = chosen_by_few(fitted.history, fitted.best_epoch, error)
    return fitted.model_copy(update={"warnings": (*fitted.warnings, *few)})
