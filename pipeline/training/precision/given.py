"""A precision or layout that the user gave, held against float32 before a training rests on it.

On a processor a kernel of half precision or of another layout may end the process or give gradients that are not
finite, for some shapes only (oneDNN in PyTorch 2.13 does). There the given pair is tried apart first. A layout is about
speed and gives way; a precision is about what comes out, so it is refused and never exchanged in silence. A GPU is not
asked: its float16 is trained with a loss scale that adapts, and a second model may not fit beside the first.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch

from pipeline.errors import TrainingError
from pipeline.training.precision.choice import Candidate, PrecisionChoice, Trial
from pipeline.training.precision.proving import Try

log = logging.getLogger("resdx")

SAFE = Candidate("32", "contiguous")
"""What every other is held against."""


def settle_given(
    given: Candidate, device: torch.device, trying: Callable[[], AbstractContextManager[Try]]
) -> PrecisionChoice:
    """Take what is given, where it can be trained in.

    Parameters
    ----------
    trying : callable
        Opens what tries candidates; not called where nothing needs a proof.

    Raises
    ------
    TrainingError
        The precision ends its process, or gives what is not finite.
    """
    why = "given"
    if given.precision == "16-mixed" and device.type == "cpu":
        given, why = given._replace(precision="bf16-mixed"), "16-mixed was given, which no processor trains in"
        log.warning("precision: 16-mixed is given, but a processor trains in no float16; bf16-mixed is taken.")
    if given == SAFE or device.type != "cpu":
        return _taken(given, why)
    with trying() as attempt:
        trials = list(attempt([SAFE, given]))
        if not trials[-1].usable and given.layout != SAFE.layout and given.precision != SAFE.precision:
            trials += attempt([given._replace(layout=SAFE.layout)])
    for trial in trials:
        log.info("precision %s", trial.text)
    return decide_given(given, tuple(trials), why)


def decide_given(given: Candidate, trials: tuple[Trial, ...], why: str = "given") -> PrecisionChoice:
    """Take the given candidate if it is usable, else its precision in the safe layout, else nothing."""
    asked = trials[1]
    if asked.usable:
        if asked.problem:
            log.warning("precision: %s with %s is taken as given, but %s.", *given[:2], asked.problem)
        return _taken(given, f"{why}; but {asked.problem}" if asked.problem else why, trials)
    instead = given._replace(layout=SAFE.layout)
    found = next((trial for trial in trials if (trial.precision, trial.layout) == instead[:2]), asked)
    if found.usable:
        log.warning("precision: the layout %s gives way to %s: %s.", given.layout, instead.layout, asked.problem)
        also = f"; {found.problem}" if found.problem else ""
        return _taken(instead, f"{why}; {given.layout} was given too and refused: {asked.problem}{also}", trials)
    raise TrainingError(
        f"Training in {given.precision}, {given.layout} fails on this processor: {asked.problem}.",
        "Set plan.precision=auto, which takes half precision only where it is sound and keeps faulty layers in "
        "float32, or plan.precision=32; and leave training.memory_format at auto.",
    )


def _taken(candidate: Candidate, reason: str, trials: tuple[Trial, ...] = ()) -> PrecisionChoice:
    return PrecisionChoice(precision=candidate.precision, layout=candidate.layout, reason=reason, trials=trials)
