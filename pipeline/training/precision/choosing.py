"""Choose the fastest precision and layout that can be trusted."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.training.precision.apart import apart
from pipeline.training.precision.choice import Candidate, Layout, Precision, PrecisionChoice, Trial
from pipeline.training.precision.compiling import prove_compiled
from pipeline.training.precision.devices import fast_precisions
from pipeline.training.precision.given import settle_given
from pipeline.training.precision.proving import LEAST_GAIN, InThisProcess, Try, prove_with
from pipeline.training.precision.rehearsal import Rehearsal

log = logging.getLogger("resdx")


def choose_precision(
    wanted: str,
    layout: str,
    classifier: nn.Module,
    loss: nn.Module,
    images: Tensor,
    labels: Tensor,
    device: torch.device,
    run_folder: Path | None = None,
    *,
    try_compiled: bool = False,
) -> PrecisionChoice:
    """Choose precision and layout, or prove those that are given.

    Parameters
    ----------
    wanted : str
        ``auto``, ``32``, ``bf16-mixed`` or ``16-mixed``; what is given on a processor is proven, see
        :mod:`pipeline.training.precision.given`.
    layout : str
        ``auto``, ``contiguous`` or ``channels_last``.
    classifier : nn.Module
        Images to logits; left as it is.
    loss : nn.Module
        Logits and labels to a number.
    images, labels : Tensor
        A real training batch, of the largest size.
    device : torch.device
        Where training will run.
    run_folder : Path or None
        Held by this process; candidates on a processor are tried below it.
    try_compiled : bool
        Try torch.compile too, with what was chosen.

    Raises
    ------
    TrainingError
        The given precision cannot be trained in on this processor.
    """
    rehearsal = Rehearsal(classifier, loss, images, labels, device)
    trying = partial(_trying, rehearsal, run_folder)
    if wanted != "auto":
        given = Candidate(cast(Precision, wanted), "channels_last" if layout == "channels_last" else "contiguous")
        choice = settle_given(given, device, trying)
    else:
        choice = _choose(layout, rehearsal, trying)
    return prove_compiled(choice, trying) if try_compiled else choice


def _choose(layout: str, rehearsal: Rehearsal, trying: Callable[[], AbstractContextManager[Try]]) -> PrecisionChoice:
    layouts: tuple[Layout, ...] = ("contiguous", "channels_last")
    if layout != "auto":
        layouts = tuple(name for name in layouts if name == layout)
    device = rehearsal.device
    fast = fast_precisions(device)
    candidates = [Candidate(name, kind) for kind in layouts for name in ("32", *fast)]
    with trying() as attempt:
        trials = prove_with(attempt, rehearsal.classifier, candidates)
    choice = decide(
        trials, f"{len(rehearsal.images)} cases on {device.type}" + ("" if fast else ", which has no half precision")
    )
    for trial in trials:
        log.info("precision %s", trial.text)
    log.info("precision: %s, %s (%s)", choice.precision, choice.layout, choice.reason)
    if choice.kept:
        log.info("precision: these layers stay in float32: %s", ", ".join(choice.kept))
    return choice


def decide(trials: Sequence[Trial], where: str) -> PrecisionChoice:
    """Take the fastest trusted candidate, if it gains enough over the first one."""
    first = trials[0]
    trusted = [trial for trial in trials[1:] if not trial.problem]
    best = min(trusted, key=lambda trial: trial.seconds, default=first)
    refused = "".join(f"; {_name(trial)} refused: {trial.problem}" for trial in trials[1:] if trial.problem)
    if best is first or (not first.problem and best.seconds > LEAST_GAIN * first.seconds):
        reason = f"nothing trusted was faster than {first.seconds:.3f} s a step of {where}{refused}"
        best = first
    else:
        reason = f"{best.seconds:.3f} s a step of {where}, {first.precision} with {first.layout}: {first.seconds:.3f} s"
        reason += refused
    return PrecisionChoice(
        precision=best.precision, layout=best.layout, kept=best.kept, reason=reason, trials=tuple(trials)
    )


def _name(trial: Trial) -> str:
    but = f" but for {len(trial.kept)} layers" if trial.kept else ""
    return f"{trial.precision}{but} with {trial.layout}"


def _trying(rehearsal: Rehearsal, run_folder: Path | None) -> AbstractContextManager[Try]:
    """Candidates on a processor are tried apart: there a faulty kernel can end the process."""
    return apart(rehearsal, run_folder) if rehearsal.device.type == "cpu" else nullcontext(InThisProcess(rehearsal))
