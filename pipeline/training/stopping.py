"""SIGTERM while a network trains: who takes it, and what is said of it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.errors import StoppedBySignal


@contextmanager
def lightning_takes_sigterm() -> Iterator[None]:
    """Let Lightning stop between batches, rather than a handler of ours within one; before and after it ours acts."""
    ours = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(ours):
        yield
        return

    def unless_lightning(number: int, frame: FrameType | None) -> None:
        # Lightning calls the handler that it found besides its own
        if signal.getsignal(signal.SIGTERM) is unless_lightning:
            ours(number, frame)

    signal.signal(signal.SIGTERM, unless_lightning)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, ours)


def stopped(epoch: int, *, validating: bool = False) -> StoppedBySignal:
    """Say where SIGTERM stopped a training, and what the same command begins with."""
    if validating:
        remedy = "All steps are saved; the same command goes on with this validation, from its first case."
        return StoppedBySignal(f"Stopped by SIGTERM in the validation of epoch {epoch}.", remedy)
    remedy = "Everything is saved; the same command goes on from here."
    return StoppedBySignal(f"Stopped by SIGTERM in epoch {epoch}.", remedy)
