"""Run one candidate on the real model and a real batch, on a copy of both."""

import copy
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.networks.layout import lay_out
from pipeline.training.precision.choice import HALF, Candidate, Precision, memory_format_of
from pipeline.training.precision.compiler import compiled
from pipeline.training.precision.devices import float32_products
from pipeline.training.precision.kept import keep_in_float32

Gradients = dict[str, Tensor]
"""By the name of the parameter, in float32."""

OPENED_SCALE = 0.1
"""Trial value of norm scales, and share of the usual deviation of weights, that start at zero. They would hide the
gradients of the branches behind them; at 1, with fresh weights, a deep network amplifies rounding until no two
precisions agree."""

LOSS_SCALE = 1024.0
"""Of the trial in float16, where small gradients vanish; training itself adapts the scale."""

REPEATS = 2
"""Passes of each candidate: a broken kernel may be right once. The largest error and the shortest time count."""


MOST_REPEATS, TIMED_SECONDS = 10, 1.0
"""Passes of a small network, whose time is noisier, go on until so many were made or took so long together."""


@dataclass(frozen=True)
class Rehearsal:
    """What a training step is made of.

    Attributes
    ----------
    classifier : nn.Module
        Images to logits; left as it is.
    loss : nn.Module
        Logits and labels to a number.
    images, labels : Tensor
        The largest batch of an epoch. It has others with one case less, which are run too: kernels are chosen by shape.
    device : torch.device
    """

    classifier: nn.Module
    loss: nn.Module
    images: Tensor
    labels: Tensor
    device: torch.device


class Measured(NamedTuple):
    """Raw result of one candidate; of the smaller batch only the gradients, which have no like in float32."""

    seconds: float
    losses: tuple[float, ...]
    gradients: tuple[Gradients, ...]
    of_smaller: Gradients


def run(rehearsal: Rehearsal, candidate: Candidate) -> Measured:
    """Forward and backward, several times."""
    memory_format = memory_format_of(candidate.layout, rehearsal.images.ndim - 2)
    network = copy.deepcopy(rehearsal.classifier).to(rehearsal.device).train()
    lay_out(network, memory_format)
    keep_in_float32(network, candidate.kept)
    _open_branches(network)
    forward = compiled(network) if candidate.compiled else network
    measure = copy.deepcopy(rehearsal.loss).to(rehearsal.device)
    batch = rehearsal.images.to(rehearsal.device).contiguous(memory_format=memory_format)
    truth = rehearsal.labels.to(rehearsal.device)
    smaller = len(batch) - 1 if len(batch) > 2 else len(batch)
    with torch.random.fork_rng(), float32_products(candidate.precision, rehearsal.device):
        step = partial(_step, network, forward, measure, precision=candidate.precision)
        step(batch[:smaller], truth[:smaller])  # warms up, too
        of_smaller = _gradients(network)
        seconds, losses, gradients = math.inf, [], []
        for _ in range(REPEATS):
            started = time.perf_counter()
            losses.append(step(batch, truth))
            seconds = min(seconds, time.perf_counter() - started)
            gradients.append(_gradients(network))
        began, repeats = time.perf_counter(), REPEATS
        while repeats < MOST_REPEATS and time.perf_counter() + seconds < began + TIMED_SECONDS:
            started = time.perf_counter()
            step(batch, truth)
            seconds = min(seconds, time.perf_counter() - started)
            repeats += 1
    return Measured(seconds, tuple(losses), tuple(gradients), of_smaller)


def _gradients(network: nn.Module) -> Gradients:
    return {name: p.grad.float().cpu().clone() for name, p in network.named_parameters() if p.grad is not None}


def _step(
    network: nn.Module,
    forward: Callable[[Tensor], Tensor],
    loss: nn.Module,
    images: Tensor,
    labels: Tensor,
    precision: Precision,
) -> float:
    """One pass; returns the loss and leaves gradients on the network, without the scale. Reading it synchronises."""
    torch.manual_seed(0)  # equal dropout for all candidates
    network.zero_grad()
    scale = LOSS_SCALE if precision == "16-mixed" else 1.0
    device = images.device.type
    with torch.autocast(device, dtype=HALF[precision]) if precision in HALF else nullcontext():
        value: Tensor = loss(forward(images).float(), labels)
    torch.autograd.backward(value * scale)
    if scale != 1.0:
        for parameter in network.parameters():
            if parameter.grad is not None:
                parameter.grad.div_(scale)
    if device == "cuda":
        torch.cuda.synchronize()
    return float(value.detach())


@torch.no_grad()
def _open_branches(network: nn.Module) -> None:
    """Raise norm scales and weights that start at zero, equally for all candidates; see OPENED_SCALE."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        weight = getattr(module, "weight", None)
        if not isinstance(weight, nn.Parameter) or weight.any():
            continue
        if weight.ndim == 1:
            weight.fill_(OPENED_SCALE)
        else:
            drawn = nn.init.kaiming_normal_(torch.empty_like(weight, device="cpu"), generator=generator)
            weight.copy_(drawn * OPENED_SCALE)
