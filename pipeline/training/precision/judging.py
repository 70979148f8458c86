"""Whether a candidate is finite and close to float32."""

import math
from collections.abc import Iterator

import torch

from pipeline.training.precision.choice import Candidate, Trial
from pipeline.training.precision.compiler import NotCompiledError
from pipeline.training.precision.rehearsal import Gradients, Measured

LARGEST_LOSS_CHANGE = 0.05
"""Relative difference of the loss from float32 that still counts as close."""

LARGEST_GRADIENT_ERROR = 0.5
"""Difference of a tensor's gradient from that of float32, relative to its norm, that still counts as close; the worst
tensor counts. Rounding in bfloat16 makes 0.1 to 0.35 in networks of 18 to 50 layers, a wrong kernel 0.9 and more."""

SMALLEST_SHARE = 1e-3
"""Tensors whose gradient is below this share of the whole gradient are judged by that share: their own may cancel."""


def judge(candidate: Candidate, found: Measured, reference: Measured) -> Trial:
    """Compare a candidate with the reference, which is float32; the reference itself need only be finite."""
    expected, expected_loss = reference.gradients[0], reference.losses[0]
    change = max(abs(value - expected_loss) for value in found.losses) / max(abs(expected_loss), 1e-6)
    errors = _errors(found, expected)
    worst = max(errors, key=errors.__getitem__)
    wrong = tuple(name for name, error in errors.items() if not error <= LARGEST_GRADIENT_ERROR)
    unbounded = [name for name in wrong if not math.isfinite(errors[name])]
    problem = ""
    if not all(math.isfinite(value) for value in found.losses):
        problem = "the loss is not finite"
    elif not change <= LARGEST_LOSS_CHANGE:
        problem = f"the loss differs by {change:.1%}"
    trusted_loss = not problem
    if trusted_loss and unbounded:
        problem = f"the gradient of {unbounded[0]} is not finite ({len(unbounded)} of {len(errors)} are not)"
    elif trusted_loss and wrong:
        size = f"{errors[worst]:.2f}" if errors[worst] < 1e3 else f"{errors[worst]:.0e}"
        problem = f"the gradient of {worst} is wrong by {size} of its norm ({len(wrong)} of {len(errors)} are wrong)"
    return Trial(
        **candidate._asdict(),
        seconds=found.seconds,
        loss_change=change if math.isfinite(change) else 0.0,
        gradient_error=errors[worst] if math.isfinite(errors[worst]) else 0.0,
        wrong=wrong if trusted_loss else (),
        problem=problem,
        usable=all(map(math.isfinite, (*found.losses, *errors.values()))),
    )


def not_compiled(candidate: Candidate, error: NotCompiledError) -> Trial:
    """Tell of a candidate that the compiler refused."""
    return Trial(**candidate._asdict(), seconds=0.0, problem=f"it does not compile: {error}", usable=False)


def _errors(found: Measured, expected: Gradients) -> dict[str, float]:
    """Largest error of each tensor over all passes, relative to its norm; infinite where it is not finite."""
    whole = math.sqrt(sum(float(gradient.square().sum()) for gradient in expected.values()))
    errors: dict[str, float] = {}
    for name, gradient in expected.items():
        size = max(float(gradient.norm()), SMALLEST_SHARE * whole, torch.finfo(torch.float32).tiny)
        passes = [float((gradients[name] - gradient).double().norm()) / size for gradients in found.gradients]
        errors[name] = max(map(_or_infinite, passes))
    for name in _not_finite(found.of_smaller):
        errors[name] = math.inf
    return errors


def _or_infinite(value: float) -> float:
    return value if math.isfinite(value) else math.inf


def _not_finite(gradients: Gradients) -> Iterator[str]:
    return (name for name, gradient in gradients.items() if not gradient.isfinite().all())
