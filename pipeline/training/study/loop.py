"""The training of one network of a study: a plain loop, in which nothing depends on the network."""

import logging
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pipeline.data.batch import Batch
from pipeline.data.datamodule import CaseDataModule
from pipeline.data.dataset import PreparedDataset
from pipeline.domain.case import Case, Split
from pipeline.domain.journal import Journal
from pipeline.networks.classifier import Classifier
from pipeline.progress import track
from pipeline.training.losses import FindingsLoss
from pipeline.training.optimizers import make_optimizer, split_by_decay
from pipeline.training.schedules import WarmupCosine
from pipeline.training.selection import aurocs
from pipeline.training.study.course import Course, Gradients, Point
from pipeline.training.study.layers import counted_layers, gradient_norms
from pipeline.training.study.settings import CourseSettings

log = logging.getLogger("resdx")

SUBSET_SEED = 0
"""Of the training cases that are measured; the same ones in every study of a manifest."""


@dataclass(frozen=True)
class Trained:
    """A course, and what the network said of validation at its best point.

    Attributes
    ----------
    logits : ndarray of float32, shape (n, outputs), or None
        In the order of the validation split; None where AUROC is never defined.
    """

    course: Course
    logits: NDArray[np.float32] | None


def train_network(
    classifier: Classifier,
    data: CaseDataModule,
    settings: CourseSettings,
    *,
    seed: int,
    journal: Journal,
    title: str,
) -> Trained:
    """Train and measure.

    Batches and their order follow from the seed of `data`, what is random within a step from `seed` and the step: two
    networks of one seed see the same. A loss that is not finite ends the course, not the study.

    Parameters
    ----------
    title : str
        Of the progress that is shown.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier.to(device)
    loop = _Loop(classifier, data, settings, journal, device)
    loop.measure(0)
    batches = track(endless(data), title, total=settings.steps)
    for step, batch in zip(range(settings.steps), batches, strict=False):
        torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0]))
        if not loop.step(step, batch):
            break
        done = step + 1
        if (done % settings.measure_every == 0 or done == settings.steps) and not loop.measure(done):
            break
    return loop.trained()


def endless(data: CaseDataModule) -> Iterator[Batch]:
    """Training batches, epoch after epoch."""
    loader = data.train_dataloader()
    epoch = 0
    while True:
        loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr] # an EvenBatches
        yield from loader
        epoch += 1


def measured_cases(cases: Sequence[Case], count: int) -> list[Case]:
    """Choose the training cases whose loss is measured: `count` of them, by :data:`SUBSET_SEED` alone."""
    chosen = np.random.default_rng(SUBSET_SEED).permutation(len(cases))[:count]
    return [cases[index] for index in sorted(chosen.tolist())]


def optimizer_and_schedule(network: nn.Module, settings: CourseSettings) -> tuple[Optimizer, LambdaLR]:
    """Optimizer and schedule of one network; norms and biases do not decay."""
    decaying, others = split_by_decay(network.parameters())
    groups: list[dict[str, Any]] = [
        {"params": decaying, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    optimizer = make_optimizer(settings.optimizer, groups, settings.learning_rate)
    return optimizer, LambdaLR(optimizer, WarmupCosine(settings.warmup_steps, settings.steps, settings.final_rate))


@dataclass
class _Loop:
    """State of one training."""

    classifier: Classifier
    data: CaseDataModule
    settings: CourseSettings
    journal: Journal
    device: torch.device
    losses: list[float] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    gradients: list[Gradients] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    diverged_at: int | None = None
    logits: NDArray[np.float32] | None = None
    best: float = -math.inf

    def __post_init__(self) -> None:
        self.loss = FindingsLoss(self.classifier.findings)
        self.layers = counted_layers(self.classifier.backbone)
        self.optimizer, self.schedule = optimizer_and_schedule(self.classifier, self.settings)
        train = self.data.datasets[Split.TRAIN]
        fixed = measured_cases(train.cases, self.settings.measured_cases)
        self.measured = PreparedDataset(fixed, train.cache, self.classifier.findings)

    def step(self, step: int, batch: Batch) -> bool:
        """Make one step; return whether its loss was finite."""
        began = time.perf_counter()
        self.classifier.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.classifier(batch.image.to(self.device)), batch.label.to(self.device))
        value = float(loss.detach())
        if not math.isfinite(value):
            return self._end(step, "the loss")
        loss.backward()
        if step in self.settings.gradient_steps or step == self.settings.steps - 1:
            self.gradients.append(Gradients(step=step, norms=gradient_norms(self.layers)))
        if self.settings.gradient_clip:
            nn.utils.clip_grad_norm_(self.classifier.parameters(), self.settings.gradient_clip)
        self.optimizer.step()
        self.schedule.step()
        self.losses.append(value)
        self.journal.metrics({"batch_loss": value}, step=step + 1)
        self.seconds.append(time.perf_counter() - began)
        return True

    def measure(self, step: int) -> bool:
        """Measure losses and AUROC after so many steps; return whether all logits were finite."""
        train, train_labels = self._predict(self.measured)
        validation, labels = self._predict(self.data.datasets[Split.VALIDATION])
        if not (train.isfinite().all() and validation.isfinite().all()):
            return self._end(step, "a logit")
        found = aurocs(self.classifier.findings, validation.numpy(), labels.numpy())
        point = Point(
            step=step,
            train_loss=float(self.loss.cpu()(train, train_labels)),
            validation_loss=float(self.loss(validation, labels)),
            auroc=float(np.mean(list(found.values()))) if found else None,
        )
        self.loss.to(self.device)
        self.points.append(point)
        values = {"train_loss": point.train_loss, "val_loss": point.validation_loss}
        if point.auroc is not None:
            values["val_auroc"] = point.auroc
            if point.auroc > self.best:
                self.best, self.logits = point.auroc, validation.numpy()
        self.journal.metrics(values, step=step)
        return True

    def trained(self) -> Trained:
        """Close the course."""
        course = Course(
            layers=tuple(self.layers),
            losses=tuple(self.losses),
            points=tuple(self.points),
            gradients=tuple(self.gradients),
            diverged_at=self.diverged_at,
            seconds_per_step=statistics.median(self.seconds) if self.seconds else 0.0,
        )
        return Trained(course, self.logits)

    def _end(self, step: int, what: str) -> bool:
        self.diverged_at = step
        self.journal.tags({"resdx.diverged_at": str(step)})
        log.warning("%s is not finite at step %d: this network's training ends here.", what, step)
        return False

    @torch.no_grad()
    def _predict(self, dataset: PreparedDataset) -> tuple[Tensor, Tensor]:
        """Logits and labels of a dataset in its order, in eval mode."""
        self.classifier.eval()
        logits, labels = [], []
        for batch in dataset.in_order(self.data.batch_size):
            logits.append(self.classifier(batch.image.to(self.device)).float().cpu())
            labels.append(batch.label)
        return torch.cat(logits), torch.cat(labels)
