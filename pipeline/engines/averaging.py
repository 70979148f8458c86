"""From networks that run one batch to what a package answers: image by image, averaged over members and flips."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.engine import Answer
from pipeline.engines.flips import average_over_flips
from pipeline.engines.members import average_over_members
from pipeline.package.package import ModelPackage

Rows = NDArray[np.float32]


def answer_each(
    members: Sequence[Callable[[Rows], Rows]], images: Rows, *, flips: Sequence[int], outputs: int, features: int
) -> Answer:
    """Run images one at a time, so that no answer depends on its neighbours.

    Parameters
    ----------
    members : sequence of callable
        Each (n, c, *space) to rows (n, outputs + features).
    images : ndarray of float32, shape (n, c, *space)
    flips : sequence of int
        Spatial axes over whose mirror images rows are averaged.
    """
    assert images.dtype == np.float32, images.dtype
    run = partial(average_over_members, members, outputs=outputs)
    rows = [average_over_flips(run, image[np.newaxis], flips) for image in images]
    empty = np.empty((0, outputs + features), dtype=np.float32)
    return Answer.of(np.concatenate(rows) if rows else empty, outputs)


def count_features(run: Callable[[Rows], Rows], package: ModelPackage) -> int:
    """Run an empty image, as a first turn, and see how many columns stand behind the logits."""
    empty = np.zeros((1, package.plan.channels, *package.plan.size), dtype=np.float32)
    return int(run(empty).shape[1]) - package.outputs
