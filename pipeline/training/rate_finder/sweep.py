"""Training steps at rising learning rates, on a copy of the network."""

import copy
import math
from collections.abc import Iterator
from itertools import count, islice

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from pipeline.data.batch import Batch
from pipeline.data.loader import CaseLoader
from pipeline.networks.classifier import Classifier
from pipeline.progress import track
from pipeline.training.finetuning.rates import parameter_groups
from pipeline.training.finetuning.tuning import Tuning
from pipeline.training.optimizers import make_optimizer
from pipeline.training.rate_finder.curve import RateCurve, choose_rate, smooth
from pipeline.training.settings import TrainingSettings

BURST = 4.0
"""A smoothed loss so many times its lowest ends the test: what comes is no news."""


def find_rate(
    classifier: Classifier,
    loss: nn.Module,
    loader: CaseLoader,
    settings: TrainingSettings,
    *,
    device: torch.device,
    seed: int,
) -> RateCurve:
    """Try rising learning rates, in float32, and choose one.

    Each step takes a batch of training, clips as training does, and goes by the optimizer of training; stages that
    stand still in the first epoch stand still, and rates of stages keep their proportions. Images are not mixed. A step
    is one batch of one process, also where training accumulates several or several processes share a step: such steps
    have less noise and bear a higher rate than what is found, if anything.

    Parameters
    ----------
    classifier : Classifier
        With its first weights; left as it is.
    loss : nn.Module
        Of training.
    seed : int
        Of dropout.

    Raises
    ------
    TrainingError
        The loss fell at no rate.
    """
    finder = settings.rate_finder
    trial, measure = copy.deepcopy(classifier).to(device), copy.deepcopy(loss).to(device)
    tuning = Tuning(settings.finetune, trial, settings.epochs)
    tuning.apply(trial, 0)
    groups = parameter_groups(trial, tuning, 1.0, settings.weight_decay)
    optimizer = make_optimizer(settings.optimizer, groups, 1.0, settings.momentum, settings.second_beta)
    shares = [group["lr"] for group in optimizer.param_groups]
    rates = np.geomspace(finder.lowest, finder.highest, finder.steps).tolist()
    losses: list[float] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trial.train()
        steps = zip(rates, endless(loader), strict=False)
        for rate, batch in track(islice(steps, finder.steps), "look for a learning rate", finder.steps):
            value = measure(trial(batch.image.to(device)), batch.label.to(device))
            if not math.isfinite(float(value.detach())):
                break
            losses.append(float(value.detach()))
            smoothed = smooth(losses)
            if smoothed[-1] > BURST * smoothed.min():
                break
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share
            optimizer.zero_grad()
            value.backward()
            clip_grad_norm_(trial.parameters(), settings.gradient_clip or math.inf)
            optimizer.step()
    return choose_rate(rates[: len(losses)] or rates, losses, finder.choose)


def endless(loader: CaseLoader) -> Iterator[Batch]:
    """Batches of one epoch after the other."""
    for epoch in count():
        loader.set_epoch(epoch)
        yield from loader
