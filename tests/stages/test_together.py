"""Processes that are not the first wait for it while it lives, and no longer."""

import json
import threading
from pathlib import Path

import pytest

from pipeline.errors import TrainingError
from pipeline.stages.together import SIGN, beating, several, wait_for_first
from pipeline.training.settings import TrainingSettings


class Clock:
    """Time that passes by sleeping, and what happens in it."""

    def __init__(self, *events: tuple[float, dict[str, object] | None], folder: Path) -> None:
        self.now = 0.0
        self._events = list(events)
        self._folder = folder

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        while self._events and self._events[0][0] <= self.now:
            sign = self._events.pop(0)[1]
            (self._folder / SIGN).write_text("{" if sign is None else json.dumps(sign))


def wait(folder: Path, *events: tuple[float, dict[str, object] | None]) -> float:
    clock = Clock(*events, folder=folder)
    wait_for_first(folder, patience=10, clock=clock, sleep=clock.sleep)
    return clock.now


def test_it_waits_as_long_as_the_first_process_lives(tmp_path: Path) -> None:
    beats = [(float(second), {"beat": second, "ready": False}) for second in range(1, 100, 9)]
    assert wait(tmp_path, *beats, (101.0, {"beat": 100, "ready": True})) == 101.0


@pytest.mark.parametrize("left", [None, {"beat": 7, "ready": True}])
def test_it_ends_where_the_first_process_never_began_or_died(left: dict[str, object] | None, tmp_path: Path) -> None:
    if left:  # by an earlier run that was killed
        (tmp_path / SIGN).write_text(json.dumps(left))
    with pytest.raises(TrainingError, match="no life for 10 seconds"):
        wait(tmp_path)
    with pytest.raises(TrainingError, match="no life"):
        wait(tmp_path, (3.0, {"beat": 1, "ready": False}), (4.0, {"beat": 2, "ready": False}))


def test_what_an_earlier_run_left_is_not_taken_for_ready(tmp_path: Path) -> None:
    (tmp_path / SIGN).write_text(json.dumps({"beat": 7, "ready": True}))
    assert wait(tmp_path, (5.0, {"beat": 1, "ready": False}), (6.0, None), (9.0, {"beat": 3, "ready": True})) == 9.0


def test_one_process_signs_and_another_reads_it(tmp_path: Path) -> None:
    with beating(tmp_path, wanted=True) as ready:
        assert json.loads((tmp_path / SIGN).read_text())["ready"] is False
        waiting = threading.Thread(target=wait_for_first, args=(tmp_path,))
        waiting.start()
        ready()
        waiting.join(timeout=20)  # the beats go on, so that one who comes late sees them too
        assert not waiting.is_alive()
    assert list(tmp_path.iterdir()) == []
    with beating(tmp_path, wanted=False) as ready:
        ready()
        assert list(tmp_path.iterdir()) == []


def test_only_a_run_of_several_processes_is_signed() -> None:
    assert not several(TrainingSettings(), {})
    assert several(TrainingSettings(), {"RANK": "0"}) and several(TrainingSettings(), {"SLURM_PROCID": "0"})
    assert several(TrainingSettings(devices="auto"), {}) and several(TrainingSettings(num_nodes=2), {})
