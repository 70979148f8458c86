"""From a series straight to the network's input: what a worker process does for a prediction.

It stands here, apart from the stage that asks for it, so that a worker imports no network and no MLflow.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.plan import Plan
from pipeline.domain.series import Series
from pipeline.preprocessing.transforms import prepare
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read


@dataclass(frozen=True, slots=True)
class PreparedScan:
    """The input of a network, shape (c, *plan.size), and what a reviewer should know about how it was read."""

    image: NDArray[np.float32]
    notes: tuple[str, ...]


def prepare_series(series: Series, plan: Plan, options: ReadOptions) -> PreparedScan:
    """Read one series and prepare it.

    Raises
    ------
    RejectedInput
        See :func:`pipeline.readers.reading.read` and :func:`pipeline.preprocessing.transforms.prepare`.
    """
    volume = read(series, options)
    return PreparedScan(prepare(volume, plan), volume.notes)
