"""Try all candidates, and save fast ones in which few layers are wrong."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pipeline.training.precision.choice import HALF, Candidate, Layout, Precision, Trial
from pipeline.training.precision.compiler import NotCompiledError
from pipeline.training.precision.judging import judge, not_compiled
from pipeline.training.precision.kept import count_layers, suspects
from pipeline.training.precision.rehearsal import Measured, Rehearsal, run

Try = Callable[[Sequence[Candidate]], Sequence[Trial]]
"""Runs candidates and compares them with the first one it ever ran, which is float32."""

LEAST_GAIN = 0.9
"""A candidate must take less than this share of the time of what it would replace: timings are noisy."""

MOST_KEPT = 0.25
"""Share of the layers that may stay in float32: beyond it the fault is not theirs, and little time is gained."""

MOST_ROUNDS = 3
"""How often layers are added to those in float32: some faults show only now and then."""


def prove(
    candidates: Sequence[tuple[Precision, Layout]],
    classifier: nn.Module,
    loss: nn.Module,
    images: Tensor,
    labels: Tensor,
    device: torch.device,
) -> tuple[Trial, ...]:
    """Run each candidate in this process and compare it with the first, which must be float32."""
    rehearsal = Rehearsal(classifier, loss, images, labels, device)
    return prove_with(InThisProcess(rehearsal), classifier, [Candidate(*candidate) for candidate in candidates])


def prove_with(attempt: Try, classifier: nn.Module, candidates: Sequence[Candidate]) -> tuple[Trial, ...]:
    """Try each candidate; then, the fastest first, again with the layers in float32 whose gradients were wrong."""
    assert candidates[0].precision == "32", candidates
    trials = list(attempt(candidates))
    for trial in sorted(trials[1:], key=lambda trial: trial.seconds):
        trusted = [other.seconds for other in trials[1:] if not other.problem]
        bound = min([LEAST_GAIN * trials[0].seconds, *trusted])
        if trial.precision in HALF and trial.wrong and trial.seconds < bound:
            trials += rescue(attempt, classifier, trial)
    return tuple(trials)


def rescue(attempt: Try, classifier: nn.Module, trial: Trial) -> list[Trial]:
    """Trials of a candidate with more and more of its layers in float32, until it is right or beyond help."""
    most = max(1, int(MOST_KEPT * count_layers(classifier)))
    found: list[Trial] = []
    for _ in range(MOST_ROUNDS):
        kept = tuple(dict.fromkeys((*trial.kept, *suspects(classifier, trial.wrong))))
        if not trial.wrong or len(kept) > most or kept == trial.kept:
            break
        (trial,) = attempt([Candidate(trial.precision, trial.layout, kept)])
        found.append(trial)
    return found


class InThisProcess:
    """Tries candidates here: on a GPU, which a second process would have to share."""

    def __init__(self, rehearsal: Rehearsal) -> None:
        self._rehearsal = rehearsal
        self._reference: Measured | None = None

    def __call__(self, candidates: Sequence[Candidate]) -> Sequence[Trial]:
        """Run and judge."""
        return [self._tried(candidate) for candidate in candidates]

    def _tried(self, candidate: Candidate) -> Trial:
        try:
            found = run(self._rehearsal, candidate)
        except NotCompiledError as error:
            return not_compiled(candidate, error)
        self._reference = self._reference or found
        return judge(candidate, found, self._reference)
