"""Half precision is looked at before it is trusted: kernels of bfloat16 were seen that give rubbish on some shapes."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import EngineError

Rows = NDArray[np.float32]

LARGEST_ERROR = 0.2
"""Of a row, relative to its largest value. bfloat16 has errors of a few hundredths; a faulty kernel of one and more."""

SEED = 20160627


def check_half(half: Callable[[Rows], Rows], full: Callable[[Rows], Rows], shape: Sequence[int], kind: str) -> None:
    """Run the same noise in half and in full precision.

    It finds kernels that are wrong, not models that lie near a threshold: whether a model may run in half precision is
    what the parity report of ``resdx export`` says.

    Parameters
    ----------
    half, full : callable
        (n, c, *space) to rows.
    shape : sequence of int
        Of one image, (c, *space).

    Raises
    ------
    EngineError
        If they differ by more than rounding can explain.
    """
    noise = np.random.default_rng(SEED).normal(size=(1, *shape)).astype(np.float32)
    rows, true = half(noise), full(noise)
    scale = max(float(np.abs(true).max()), 1e-6)
    error = float(np.abs(rows - true).max()) / scale if np.isfinite(rows).all() else np.inf
    if not error <= LARGEST_ERROR:
        found = f"is off by {error:.0%} of the largest value" if np.isfinite(error) else "is not finite"
        message = f"bf16 of engine {kind} cannot be trusted on this machine: on noise its answer {found}."
        raise EngineError(message, "Give engine.precision=32.")
