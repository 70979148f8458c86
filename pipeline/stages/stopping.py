"""SIGTERM as an orderly stop, for the verbs that work long."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from pipeline.errors import StoppedBySignal


@contextmanager
def stopping_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an orderly stop: what was written so far is whole, and the same command goes on from it."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedBySignal("Stopped by SIGTERM.", "Everything is saved; the same command goes on from here.")

    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGTERM, stop)
            stack.callback(signal.signal, signal.SIGTERM, before)
        yield
