"""Precision and memory layout: proven on the real model and a real batch before they are trusted.

Half precision is not safe everywhere: on some processors the weight gradient of a 3D convolution on small maps comes
out infinite in bfloat16. So each candidate runs forward and backward once on the whole batch; only one whose loss and
gradients are finite and close to float32, and that is faster, is taken.
"""

import copy
import logging
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from pipeline.domain.frozen import Frozen
from pipeline.networks.layout import lay_out

log = logging.getLogger("resdx")

Precision = Literal["32", "bf16-mixed", "16-mixed"]
Layout = Literal["contiguous", "channels_last"]

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

LARGEST_LOSS_CHANGE = 0.05
"""Relative difference of the loss from float32 that still counts as close."""

LARGEST_GRADIENT_ERROR = 0.5
"""Difference of a tensor's gradient from that of float32, relative to its norm, that still counts as close; the worst
tensor counts. Rounding in bfloat16 makes 0.1 to 0.35 in networks of 18 to 50 layers, a wrong kernel 0.9 and more."""

SMALLEST_SHARE = 1e-3
"""Tensors whose gradient is below this share of the whole gradient are judged by that share: their own may cancel."""

OPENED_SCALE = 0.1
"""Trial value of norm scales, and share of the usual deviation of weights, that start at zero. They would hide the
gradients of the branches behind them; at 1, with fresh weights, a deep network amplifies rounding until no two
precisions agree."""

LEAST_GAIN = 0.9
"""A candidate must take less than this share of the time of what it would replace: timings are noisy."""

LOSS_SCALE = 1024.0
"""Of the trial in float16, where small gradients vanish; training itself adapts the scale."""

WARM_UP_CASES = 2
REPEATS = 2
"""Passes of each candidate: a broken kernel may be right once. The largest error and the shortest time count."""


class Trial(Frozen):
    """One candidate, as measured.

    Attributes
    ----------
    seconds : float
        One forward and backward pass of the batch.
    loss_change : float
        Relative to float32.
    gradient_error : float
        Of the worst tensor; see LARGEST_GRADIENT_ERROR.
    problem : str
        Why it cannot be trusted; empty if it can.
    """

    precision: Precision
    layout: Layout
    seconds: float
    loss_change: float = 0.0
    gradient_error: float = 0.0
    problem: str = ""

    @property
    def text(self) -> str:
        """One line of the table."""
        verdict = (
            self.problem or f"loss differs by {self.loss_change:.2%}, gradients by up to {self.gradient_error:.2f}"
        )
        return f"{self.precision}, {self.layout}: {self.seconds:.3f} s; {verdict}"


class PrecisionChoice(Frozen):
    """What training uses, and why. Kept with the run: a resumed one must not choose again."""

    precision: Precision = "32"
    layout: Layout = "contiguous"
    reason: str
    trials: tuple[Trial, ...] = ()

    def memory_format(self, ndim: int) -> torch.memory_format:
        """Torch's name of the layout."""
        if self.layout == "contiguous":
            return torch.contiguous_format
        return torch.channels_last_3d if ndim == 3 else torch.channels_last


class _Measured(NamedTuple):
    """Raw result of running one candidate."""

    seconds: float
    losses: tuple[float, ...]
    gradients: tuple[dict[str, Tensor], ...]


def choose_precision(
    wanted: str,
    layout: str,
    classifier: nn.Module,
    loss: nn.Module,
    images: Tensor,
    labels: Tensor,
    device: torch.device,
) -> PrecisionChoice:
    """Choose precision and layout.

    Parameters
    ----------
    wanted : str
        ``auto``, ``32``, ``bf16-mixed`` or ``16-mixed``; anything but auto is taken as it is.
    layout : str
        ``auto``, ``contiguous`` or ``channels_last``.
    classifier : nn.Module
        Images to logits; left as it is.
    loss : nn.Module
        Logits and labels to a number.
    images, labels : Tensor
        A real training batch.
    device : torch.device
        Where training will run.
    """
    if wanted != "auto":
        fixed: Layout = "channels_last" if layout == "channels_last" else "contiguous"
        return PrecisionChoice.model_validate({"precision": wanted, "layout": fixed, "reason": "given"})
    layouts: tuple[Layout, ...] = ("contiguous", "channels_last")
    if layout != "auto":
        layouts = tuple(name for name in layouts if name == layout)
    half = half_precision(device)
    candidates = [(name, kind) for kind in layouts for name in ("32", *half)]
    trials = prove(candidates, classifier, loss, images, labels, device)
    choice = decide(trials, f"{len(images)} cases on {device.type}" + ("" if half else ", which has no half precision"))
    for trial in trials:
        log.info("precision %s", trial.text)
    log.info("precision: %s, %s (%s)", choice.precision, choice.layout, choice.reason)
    return choice


def half_precision(device: torch.device) -> tuple[Precision, ...]:
    """Half precisions that the device computes in hardware: bfloat16 rather than float16."""
    if device.type == "cuda":
        return ("bf16-mixed",) if torch.cuda.is_bf16_supported(including_emulation=False) else ("16-mixed",)
    if device.type == "cpu":
        info = Path("/proc/cpuinfo")
        flags = info.read_text(encoding="utf-8") if info.is_file() else ""
        return ("bf16-mixed",) if "avx512_bf16" in flags or "amx_bf16" in flags else ()
    return ()


def prove(
    candidates: Sequence[tuple[Precision, Layout]],
    classifier: nn.Module,
    loss: nn.Module,
    images: Tensor,
    labels: Tensor,
    device: torch.device,
) -> tuple[Trial, ...]:
    """Run each candidate and compare it with the first, which must be float32."""
    assert candidates[0][0] == "32", candidates
    with torch.random.fork_rng():
        reference = _run(*candidates[0], classifier, loss, images, labels, device)
        precision, layout = candidates[0]
        trials = [Trial(precision=precision, layout=layout, seconds=reference.seconds, problem=_not_finite(reference))]
        for precision, layout in candidates[1:]:
            found = _run(precision, layout, classifier, loss, images, labels, device)
            trials.append(_judge(precision, layout, found, reference))
    return tuple(trials)


def decide(trials: Sequence[Trial], where: str) -> PrecisionChoice:
    """Take the fastest trusted candidate, if it gains enough over the first one."""
    first = trials[0]
    trusted = [trial for trial in trials[1:] if not trial.problem]
    best = min(trusted, key=lambda trial: trial.seconds, default=first)
    refused = "".join(f"; {t.precision} with {t.layout} refused: {t.problem}" for t in trials[1:] if t.problem)
    if best is first or best.seconds > LEAST_GAIN * first.seconds:
        reason = f"nothing trusted was faster than {first.seconds:.3f} s a step of {where}{refused}"
        best = first
    else:
        reason = f"{best.seconds:.3f} s a step of {where}, {first.precision} with {first.layout}: {first.seconds:.3f} s"
        reason += refused
    return PrecisionChoice(precision=best.precision, layout=best.layout, reason=reason, trials=tuple(trials))


def _judge(precision: Precision, layout: Layout, found: _Measured, reference: _Measured) -> Trial:
    expected, expected_loss = reference.gradients[0], reference.losses[0]
    change = max(abs(value - expected_loss) for value in found.losses) / max(abs(expected_loss), 1e-6)
    error, name = max(_worst_error(gradients, expected) for gradients in found.gradients)
    problem = _not_finite(found)
    if not problem and not change <= LARGEST_LOSS_CHANGE:
        problem = f"the loss differs by {change:.1%}"
    if not problem and not error <= LARGEST_GRADIENT_ERROR:
        problem = f"the gradient of {name} is wrong by {error:.2f} of its norm"
    return Trial(
        precision=precision,
        layout=layout,
        seconds=found.seconds,
        loss_change=change if math.isfinite(change) else 0.0,
        gradient_error=error if math.isfinite(error) else 0.0,
        problem=problem,
    )


def _worst_error(found: dict[str, Tensor], expected: dict[str, Tensor]) -> tuple[float, str]:
    whole = math.sqrt(sum(float(gradient.square().sum()) for gradient in expected.values()))
    errors: list[tuple[float, str]] = []
    for name, gradient in expected.items():
        size = max(float(gradient.norm()), SMALLEST_SHARE * whole, torch.finfo(torch.float32).tiny)
        error = float((found[name] - gradient).double().norm()) / size
        errors.append((error if math.isfinite(error) else math.inf, name))
    return max(errors)


def _not_finite(found: _Measured) -> str:
    if not all(math.isfinite(value) for value in found.losses):
        return "the loss is not finite"
    for gradients in found.gradients:
        bad = [name for name, gradient in gradients.items() if not gradient.isfinite().all()]
        if bad:
            return f"the gradient of {bad[0]} is not finite ({len(bad)} of {len(gradients)} are not)"
    return ""


def _run(
    precision: Precision,
    layout: Layout,
    classifier: nn.Module,
    loss: nn.Module,
    images: Tensor,
    labels: Tensor,
    device: torch.device,
) -> _Measured:
    """Forward and backward on a copy of the model."""
    memory_format = PrecisionChoice(layout=layout, reason="").memory_format(images.ndim - 2)
    network = copy.deepcopy(classifier).to(device).train()
    lay_out(network, memory_format)
    _open_branches(network)
    measure = copy.deepcopy(loss).to(device)
    batch, truth = images.to(device).contiguous(memory_format=memory_format), labels.to(device)
    _step(network, measure, batch[:WARM_UP_CASES], truth[:WARM_UP_CASES], precision)
    seconds, losses, gradients = math.inf, [], []
    for _ in range(REPEATS):
        started = time.perf_counter()
        losses.append(_step(network, measure, batch, truth, precision))
        seconds = min(seconds, time.perf_counter() - started)
        named = network.named_parameters()
        gradients.append({name: p.grad.float().cpu().clone() for name, p in named if p.grad is not None})
    return _Measured(seconds, tuple(losses), tuple(gradients))


def _step(network: nn.Module, loss: nn.Module, images: Tensor, labels: Tensor, precision: Precision) -> float:
    """One pass; returns the loss and leaves gradients on the network, without the scale. Reading it synchronises."""
    torch.manual_seed(0)  # equal dropout for all candidates
    network.zero_grad()
    scale = LOSS_SCALE if precision == "16-mixed" else 1.0
    device = images.device.type
    with torch.autocast(device, dtype=HALF[precision]) if precision in HALF else nullcontext():
        value: Tensor = loss(network(images).float(), labels)
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
