"""Several processes of one training, before they are joined: the first prepares, the others wait while it lives."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import TrainingError
from pipeline.training.settings import TrainingSettings

log = logging.getLogger("resdx")

SIGN = "first.json"
"""What the first process writes every second while it works: ``beat``, and whether all is ``ready``."""

SECONDS_A_BEAT = 1.0

PATIENCE_SECONDS = 180.0
"""Without a new beat for so long, the first process is taken for dead: network file systems show changes late, by a
minute where nothing is said."""

STARTED = ("RANK", "SLURM_PROCID", "NODE_RANK")
"""Set where torchrun, SLURM or a person starts the processes, rather than Lightning in the first one."""


def several(settings: TrainingSettings, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether other processes may train beside this one."""
    return settings.devices != 1 or settings.num_nodes != 1 or any(environment.get(name) for name in STARTED)


@contextmanager
def beating(folder: Path, *, wanted: bool) -> Iterator[Callable[[], None]]:
    """Show others that this process, the first, is alive; yields what says that all they need is ready.

    Parameters
    ----------
    folder : Path
        Of the run; shared by all machines.
    wanted : bool
        False writes nothing.
    """
    if not wanted:
        yield lambda: None
        return
    state, lock, stop = {"beat": 0, "ready": False}, threading.Lock(), threading.Event()

    def beat() -> None:
        with lock:
            state["beat"] += 1
            try:
                temporary = folder / f".tmp-{SIGN}"
                temporary.write_text(json.dumps(state | {"process": os.getpid()}), encoding="utf-8")
                temporary.replace(folder / SIGN)
            except OSError as error:  # a full disk ends the run where something is lost by it, not here
                log.debug("no beat was written: %s", error)

    def ready() -> None:
        state["ready"] = True
        beat()

    def loop() -> None:
        while not stop.wait(SECONDS_A_BEAT):
            beat()

    beat()
    thread = threading.Thread(target=loop, name="resdx-beat", daemon=True)
    thread.start()
    try:
        yield ready
    finally:
        stop.set()
        thread.join()
        (folder / SIGN).unlink(missing_ok=True)


def wait_for_first(
    folder: Path,
    *,
    patience: float = PATIENCE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until the first process, alive now, says that all is ready.

    What an earlier run left in the folder is no sign of life: only a beat that follows another one is.

    Raises
    ------
    TrainingError
        The first process has ended, or never began.
    """
    log.info("waiting for the first process to prepare")
    first = seen = _sign(folder)
    since = clock()
    while not (seen.get("ready") and seen != first):
        if clock() - since > patience:
            raise TrainingError(
                f"The first process has shown no life for {patience:.0f} seconds.",
                "Its own message says why it ended. All processes need one run folder, on a file system that all "
                "machines share.",
            )
        sleep(SECONDS_A_BEAT / 2)
        now = _sign(folder)
        if now != seen:
            seen, since = now, clock()


def _sign(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / SIGN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
