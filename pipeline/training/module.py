"""The LightningModule: it conducts; network, losses and scores are their own."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from pipeline.data.batch import Batch
from pipeline.data.loader import CaseLoader
from pipeline.errors import TrainingError
from pipeline.networks.classifier import Classifier
from pipeline.training.auxiliary import Auxiliary
from pipeline.training.class_scores import class_scores
from pipeline.training.finetuning.rates import parameter_groups, stage_of_group
from pipeline.training.finetuning.tuning import Tuning
from pipeline.training.losses import FindingsLoss
from pipeline.training.mixing import draw_mix
from pipeline.training.optimizers import make_optimizer
from pipeline.training.parts import Parts
from pipeline.training.precision.compiler import compiled_where_possible
from pipeline.training.ranks import StopTogether, WholeStep, summed, whole_step
from pipeline.training.selection import aurocs, selection_score
from pipeline.training.settings import TrainingSettings
from pipeline.training.stepping import stepped_parameters, steps_whole_gradients
from pipeline.training.stepwise_rate import make_scheduler
from pipeline.training.turns import Turns

SCORE = "val/score"
"""Logged value that chooses the best epoch."""


class TrainingModule(pl.LightningModule):
    """Trains a classifier.

    Parameters
    ----------
    classifier : Classifier
    loss : FindingsLoss
        Of training; validation uses the plain one, without weights and smoothing.
    settings : TrainingSettings
    tuning : Tuning
        Which parameters train, and at which rate.
    seed : int
        What is random within a step (dropout, stochastic depth) follows from (seed, epoch, batch, rank).
    memory_format : torch.memory_format
    by_auroc : bool
        Whether AUROC chooses the best epoch, else the loss.
    parts : Parts
        How many cases go through the network at once.
    compile_steps : bool
        Whether training steps run compiled; validation never does, its batches have sizes of their own.
    auxiliary : Auxiliary, optional
        Measurements that are learned beside the findings.
    turns : Turns, optional
        Turns the images, which is learned too.

    Attributes
    ----------
    averaged : AveragedModel or None
        Exponential moving average of the classifier.
    case_ids : list of str
        Cases of the step under way, for messages.
    batch_loss : float
        Of the last batch; the mean over all ranks, each weighed by its cases, is that of the whole batch.
    eager : bool
        Whether the step under way is not to run compiled, because somebody listens to parts of the network.
    stopping : StopTogether
        Whether the ranks are to stop; a callback of the Trainer too.
    gradient_norm : Tensor or None
        Of the step under way, before clipping, where it was measured.
    measured : dict of str to float
        Of the last epoch, complete once its validation has ended.
    validated : mapping of str to (Tensor, Tensor)
        Logits and labels of the validation cases of the last epoch, of all ranks.
    """

    def __init__(
        self,
        classifier: Classifier,
        loss: FindingsLoss,
        settings: TrainingSettings,
        *,
        tuning: Tuning,
        seed: int,
        memory_format: torch.memory_format,
        by_auroc: bool,
        parts: Parts,
        compile_steps: bool = False,
        auxiliary: Auxiliary | None = None,
        turns: Turns | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self.loss = loss
        self.plain_loss = FindingsLoss(loss.findings)
        self.averaged: AveragedModel | None = None
        if settings.ema_decay:
            average = _Average(settings.ema_decay)
            self.averaged = AveragedModel(classifier, multi_avg_fn=average, use_buffers=False)
            self.averaged.requires_grad_(False)
        self.case_ids: list[str] = []
        self.batch_loss = 0.0
        self.gradient_norm: Tensor | None = None
        self.measured: dict[str, float] = {}
        self.stopping = StopTogether()
        self.parts = parts
        self.auxiliary, self.turns = auxiliary, turns
        self.eager = False
        # a method rather than the classifier, which would be registered and saved a second time
        self._compiled = compiled_where_possible(classifier) if compile_steps else classifier.__call__
        self._dropped = False
        self.validated: Mapping[str, tuple[Tensor, Tensor]] = {}
        self._settings = settings
        self._tuning = tuning
        self._seed = seed
        self._memory_format = memory_format
        self._by_auroc = by_auroc
        self._batch_sizes: list[int] = []
        self._sums = self._nothing_summed()
        self._predicted: dict[str, tuple[Tensor, Tensor]] = {}

    def configure_optimizers(self) -> Any:
        """Optimizer and schedule; norms and biases do not decay."""
        settings = self._settings
        groups = parameter_groups(self.classifier, self._tuning, settings.learning_rate, settings.weight_decay)
        for beside in (self.auxiliary, self.turns):
            groups += beside.groups(settings.weight_decay) if beside is not None else []
        optimizer = make_optimizer(
            settings.optimizer,
            groups,
            settings.learning_rate,
            settings.momentum,
            settings.second_beta,
            fused=steps_whole_gradients(self.trainer),
        )
        steps = self._steps_per_epoch()
        starts = [self._tuning.standstill(stage_of_group(group)) for group in groups]
        schedule = make_scheduler(optimizer, settings, steps, starts)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _steps_per_epoch(self) -> int:
        """Optimizer steps of this rank; notes the sizes of its batches.

        Lightning's own estimate would set up the loaders before their state is restored, and then never restore it.
        """
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined] # set by Trainer.fit
        loader = data.train_dataloader()
        self._batch_sizes = loader.batch_sizes if isinstance(loader, CaseLoader) else [1] * len(loader)
        return -(-len(loader) // self._settings.accumulate)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move images and labels; Lightning would walk through the name of each case and each number drawn for it."""
        move = partial(Tensor.to, device=device, non_blocking=device.type == "cuda")
        return batch._replace(image=move(batch.image), label=move(batch.label))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed what is random in this step, so that a resumed run draws the same."""
        seed = int(np.random.SeedSequence(self._place(batch_idx)).generate_state(1, np.uint64)[0])
        if self.device.type == "cpu":  # torch's would note the seed, with a stack trace, for devices that never start
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of one batch, mixed where the settings ask for it.

        With several ranks it is this rank's part of the loss of all their cases, times the number of ranks: Lightning
        takes the mean of their gradients, which then is the gradient of one process with the whole batch, however
        cases and known labels are spread.
        """
        cases, space, left = len(batch.case_id), batch.image.shape[2:], self._settings.epochs - self.current_epoch
        mix = draw_mix(self._settings.mixing, cases, space, self._place(batch_idx), left)
        self.case_ids = [*self.case_ids, *(mix.names(batch.case_id) if mix else batch.case_id)]
        # a mixed batch has the labels of its cases and, in another order, those again: as many known ones
        known = self.loss.known_labels(batch.label)
        if self.auxiliary is not None:
            known = torch.cat([known, self.auxiliary.known(batch.case_id).to(known.device)])
        whole = whole_step(known, cases, self.stopping.asked, self)
        self.stopping.agreed = whole.stop
        measure = partial(self.loss, known_labels=whole.known_labels[: len(self.loss.findings)])
        images, weight = mix.images(batch.image) if mix else batch.image, self._weight_in_step(batch_idx)
        if self.turns is not None:
            images = self.turns.turned(images, batch.case_id, self.current_epoch)
        parts = self.parts.begin(cases)
        self._begin_parts(len(parts), batch_idx)
        total = 0.0
        for part in parts:
            logits, features = self._answer(self._laid_out(images[part]))
            loss: Tensor = mix.loss(measure, logits, batch.label, part) if mix else measure(logits, batch.label[part])
            total += float(loss.detach())
            if features is not None:
                loss = loss + self._learned_beside(features, batch.case_id[part], whole)
            loss = loss * self.trainer.world_size * weight
            if part is not parts[-1]:  # Lightning makes the last backward pass, in which ranks exchange the gradients
                self._add_gradient(loss)
        # summed here and not in a hook behind the step: callbacks that save the state come before the module's hooks
        self.batch_loss = total * whole.cases / cases
        self._sums["loss"] += self.batch_loss * cases
        self._sums["cases"] += cases
        return loss

    def _answer(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits, and the features behind them where something is learned beside the findings."""
        if self.auxiliary is None and self.turns is None:
            network = self.classifier.__call__ if self.eager else self._compiled
            return network(images), None
        rows = self.classifier.forward_rows(images)
        logits, features = rows.tensor_split([rows.shape[1] - self.classifier.backbone.features], dim=1)
        return logits, features

    def _learned_beside(self, features: Tensor, case_ids: Sequence[str], whole: WholeStep) -> Tensor:
        """Weighed losses of a part: a mean over what is known of the whole step."""
        losses = []
        if self.auxiliary is not None:
            errors: Tensor = self.auxiliary(features, case_ids)
            self._sums["auxiliary"] += float(errors.detach())
            self._sums["measurements"] += float(self.auxiliary.known(case_ids))
            losses.append(self.auxiliary.weight * errors / max(whole.known_labels[-1], 1))
        if self.turns is not None:
            wrong: Tensor = self.turns(features, case_ids, self.current_epoch)
            self._sums["turns"] += float(wrong.detach())
            losses.append(self.turns.weight * wrong / whole.cases)
        return torch.stack(losses).sum()

    def _begin_parts(self, count: int, batch_idx: int) -> None:
        """Drop old gradients before the first part, where Lightning would drop them before the last."""
        self._dropped = count > 1
        if self._dropped and batch_idx % self._settings.accumulate == 0:
            self.trainer.optimizers[0].zero_grad()

    def _add_gradient(self, loss: Tensor) -> None:
        """Make the backward pass of a part."""
        with torch.autocast(self.device.type, enabled=False):
            self.trainer.strategy.backward(loss / self._settings.accumulate, None)
        torch.clear_autocast_cache()  # else the next part would reach the graph of this one

    def optimizer_zero_grad(self, *args: Any) -> None:
        """Leave gradients of parts that are there already."""
        if not self._dropped:
            super().optimizer_zero_grad(*args)

    def _weight_in_step(self, batch_idx: int) -> float:
        """Weight of a batch whose gradient is accumulated, so that each case of the step counts alike.

        Lightning divides by `accumulate`, also where the last step of an epoch has fewer batches, which would shrink
        its gradient; and batches differ by a case.
        """
        every = self._settings.accumulate
        if every == 1:
            return 1.0
        first = batch_idx - batch_idx % every
        together = self._batch_sizes[first : first + every]
        return every * self._batch_sizes[batch_idx] / sum(together)

    def _place(self, batch_idx: int) -> Sequence[int]:
        """Where in the run this step stands, from which what is random in it follows."""
        return [self._seed, self.current_epoch, batch_idx, self.global_rank]

    def on_train_batch_end(self, *args: Any) -> None:
        """Note that memory held the batch: what runs out while the next one is read is not its size."""
        self.parts.end()

    def on_train_start(self) -> None:
        """Forget what an interrupted step left."""
        self.case_ids = []

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make a step, then fold the weights into their average."""
        super().optimizer_step(*args, **kwargs)
        self.case_ids = []
        self.parts.end()
        if self.averaged is not None:
            self.averaged.update_parameters(self.classifier)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip, by the norm that was measured for this step where there is one."""
        norm, self.gradient_norm = self.gradient_norm, None
        if norm is None:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            clip_grads_with_norm_(stepped_parameters(optimizer), gradient_clip_val, norm)

    def evaluated(self, image: Tensor) -> Tensor:
        """Logits of the weights that validation and package use: the averaged ones where there are such."""
        network: nn.Module = self.averaged if self.averaged is not None else self.classifier
        logits: Tensor = network(self._laid_out(image)).float()
        return logits

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the logits of each case."""
        logits = self.evaluated(batch.image)
        if not logits.isfinite().all():
            bad = [case for case, row in zip(batch.case_id, logits.isfinite().all(dim=1), strict=True) if not row]
            raise TrainingError(
                f"Validation in epoch {self.current_epoch + 1}: the logits of {', '.join(bad[:5])} are not finite.",
                "Train with plan.precision=32 or a lower training.learning_rate; the last good epoch is kept.",
            )
        for case, row, label in zip(batch.case_id, logits.cpu(), batch.label.cpu(), strict=True):
            self._predicted[case] = (row, label)  # by case: ranks that pad their share count no case twice

    def on_validation_epoch_end(self) -> None:
        """Measure the epoch on all ranks' cases together."""
        predicted = self.validated = self._gathered()
        self._predicted = {}
        logits = torch.stack([row for row, _ in predicted.values()])
        labels = torch.stack([label for _, label in predicted.values()])
        loss = float(self.plain_loss(logits.to(self.device), labels.to(self.device)))
        found = aurocs(self.loss.findings, logits.numpy(), labels.numpy())
        mean = float(np.mean(list(found.values()))) if found else None
        self.measured = {"val/loss": loss} | {f"val/auroc/{name}": value for name, value in found.items()}
        if mean is not None:
            self.measured["val/auroc"] = mean
        self.measured |= class_scores(self.loss.findings, logits.numpy(), labels.numpy())
        score = selection_score(loss, mean if self._by_auroc else None)
        if not math.isfinite(score):
            raise TrainingError(
                f"Validation in epoch {self.current_epoch + 1}: the score of the epoch is {score:g} "
                f"(loss {loss:g}), so its weights are not kept.",
                "Look at the labels of the validation split; train with plan.precision=32 or a lower "
                "training.learning_rate. Checkpoints hold the state before it.",
            )
        scheduler: Any = self.lr_schedulers()
        scheduler.judge(score)
        self.log(SCORE, torch.tensor(score, dtype=torch.float64), rank_zero_only=False, sync_dist=False)

    def on_train_epoch_end(self) -> None:
        """Close the sums of the epoch."""
        self._sums = self._nothing_summed()

    def _nothing_summed(self) -> dict[str, float]:
        measured = ("auxiliary", "measurements") if self.auxiliary is not None else ()
        turned = ("turns",) if self.turns is not None else ()
        return dict.fromkeys(("loss", "cases", *measured, *turned), 0.0)

    def mean_losses(self) -> dict[str, float]:
        """Training losses of the epoch so far, on all ranks: means over the cases, and over what was measured."""
        sums = self._summed_over_ranks()
        found = {"train/loss": sums["loss"] / max(sums["cases"], 1.0)}
        if self.auxiliary is not None:
            found["train/auxiliary"] = sums["auxiliary"] / max(sums["measurements"], 1.0)
        if self.turns is not None:
            found["train/turns"] = sums["turns"] / max(sums["cases"], 1.0)
        return found

    def _summed_over_ranks(self) -> dict[str, float]:
        return dict(zip(self._sums, summed(list(self._sums.values()), self), strict=True))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sums of an epoch that is left in its middle."""
        checkpoint["resdx_sums"] = self._summed_over_ranks()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See :meth:`on_save_checkpoint`."""
        if not self.global_rank:  # they are sums over all ranks
            self._sums = dict(checkpoint["resdx_sums"])

    def _laid_out(self, image: Tensor) -> Tensor:
        return image.contiguous(memory_format=self._memory_format)

    def _gathered(self) -> Mapping[str, tuple[Tensor, Tensor]]:
        if self.trainer.world_size == 1:
            return self._predicted
        shares: list[Any] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(shares, self._predicted)
        return {case: row for share in shares for case, row in share.items()}


class _Average:
    """Moving average whose memory grows with the number of steps until it reaches `decay`.

    Without it the random first weights would weigh on the average for 1 / (1 - decay) steps.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    @torch.no_grad()
    def __call__(
        self, averaged: tuple[Tensor, ...] | list[Tensor], current: tuple[Tensor, ...] | list[Tensor], steps: Any
    ) -> None:
        """Fold all weights into their averages, in place."""
        decay = min(self.decay, (1.0 + float(steps)) / (10.0 + float(steps)))
        torch._foreach_lerp_(averaged, current, 1.0 - decay)
