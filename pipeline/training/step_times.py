"""Where the time of an epoch goes: waiting for data, or computing."""

import time

import numpy as np
from numpy.typing import NDArray


class StepTimes:
    """A stop watch with two laps a step; call :meth:`arrived` and :meth:`done` in turn.

    What lies between a step's end and the next one's start is waiting for data: the loader, the copy to the device, and
    callbacks that save. Nothing is synchronised for it. On a GPU the backward pass and the update are therefore only
    launched when a step is done, and what is left of them is waited for in the next one, where the loss is read: single
    steps are blurred, means are right as long as the GPU is what limits.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget all steps; the next one's data is waited for from now on."""
        self._waits: list[float] = []
        self._computations: list[float] = []
        self._last = time.perf_counter()

    def arrived(self) -> None:
        """Note that the data of a step is there."""
        self._lap(self._waits)

    def done(self) -> None:
        """Note that the step is made."""
        self._lap(self._computations)

    def metrics(self) -> dict[str, float]:
        """Mean and 95th percentile in seconds since :meth:`restart`; empty before the first step."""
        steps = min(len(self._waits), len(self._computations))
        waits, computations = np.array(self._waits[:steps]), np.array(self._computations[:steps])
        laps = {"step": waits + computations, "wait_for_data": waits, "compute": computations}
        return {name: value for lap, seconds in laps.items() for name, value in _described(lap, seconds).items()}

    def _lap(self, laps: list[float]) -> None:
        now = time.perf_counter()
        laps.append(now - self._last)
        self._last = now


def _described(lap: str, seconds: NDArray[np.float64]) -> dict[str, float]:
    if not len(seconds):
        return {}
    return {f"seconds/{lap}": float(np.mean(seconds)), f"seconds/{lap}_p95": float(np.quantile(seconds, 0.95))}
