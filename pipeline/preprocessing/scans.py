"""From the series of a case straight to the network's input: what a worker process does for a prediction.

It stands here, apart from the stage that asks for it, so that a worker imports no network and no MLflow.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.geometry import Geometry
from pipeline.domain.plan import Plan
from pipeline.domain.scope import ScanFacts
from pipeline.domain.series import Series
from pipeline.preprocessing.appearance import Appearance, appearance
from pipeline.preprocessing.scan_facts import measure_facts
from pipeline.preprocessing.transforms import prepare
from pipeline.readers.options import ReadOptions
from pipeline.readers.stacking import read_slots


@dataclass(frozen=True, slots=True)
class PreparedScan:
    """What is kept of a scan once it is prepared.

    Attributes
    ----------
    image : ndarray of float32, shape (c, *plan.size)
        The input of a network.
    geometry : Geometry
        Of the scan itself, in stored order: where a heatmap must lie.
    notes : tuple of str
        What a reviewer should know about how it was read.
    facts : ScanFacts
        What was measured on it as it was read.
    look : Appearance
        Of the image.
    seconds : float
        How long reading and preparing took.
    """

    image: NDArray[np.float32]
    geometry: Geometry
    notes: tuple[str, ...]
    facts: ScanFacts
    look: Appearance
    seconds: float = 0.0


def prepare_series(slots: Sequence[Series | None], plan: Plan, options: ReadOptions) -> PreparedScan:
    """Read a case and prepare it.

    Parameters
    ----------
    slots : sequence of Series or None
        Its one series; or what fills each of its channels, None where a channel is empty.

    Raises
    ------
    RejectedInput
        See :func:`pipeline.readers.stacking.read_slots` and :func:`pipeline.preprocessing.transforms.prepare`.
    """
    began = time.perf_counter()
    volume = read_slots(slots, options)
    image = prepare(volume, plan)
    facts, look = measure_facts(volume), appearance(image)
    return PreparedScan(image, volume.geometry, volume.notes, facts, look, time.perf_counter() - began)
