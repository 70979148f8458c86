"""torch.compile: proven like a precision, and taken only where it is faster and right.

It fuses what lies between convolutions. On a processor that is little, and some 3D networks do not compile at all; on a
GPU it may be much.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager

from pipeline.training.precision.choice import Candidate, PrecisionChoice
from pipeline.training.precision.given import SAFE
from pipeline.training.precision.proving import LEAST_GAIN, Try

log = logging.getLogger("resdx")


def prove_compiled(choice: PrecisionChoice, trying: Callable[[], AbstractContextManager[Try]]) -> PrecisionChoice:
    """Hold what was chosen against the same compiled, both against float32; say in its reason what was found.

    Parameters
    ----------
    trying : callable
        Opens what tries candidates.
    """
    eager = Candidate(choice.precision, choice.layout, choice.kept)
    candidates = [eager] if eager == SAFE else [SAFE, eager]
    with trying() as attempt:
        *_, plain, fused = attempt([*candidates, eager._replace(compiled=True)])
    if fused.problem:
        found = f"torch.compile refused: {fused.problem}"
    else:
        found = f"compiled {fused.seconds:.3f} s, in the same minute {plain.seconds:.3f} s without"
    log.info("precision: %s", found)
    return choice.model_copy(
        update={
            "compiled": not fused.problem and fused.seconds <= LEAST_GAIN * plain.seconds,
            "reason": f"{choice.reason}; {found}",
            "trials": (*choice.trials, fused),
        }
    )
