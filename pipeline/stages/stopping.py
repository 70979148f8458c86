"""SIGTERM as an orderly stop, for the verbs that work long."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from pipeline.errors import StoppedBySignal

GOES_ON = "Everything is saved; the same command goes on from here."
STARTS_AGAIN = "The tables of this run were not written; the same command starts again from the first scan."


@contextmanager
def stopping_on_sigterm(remedy: str = GOES_ON) -> Iterator[None]:
    """Turn SIGTERM into an orderly stop: what was written so far is whole.

    Parameters
    ----------
    remedy : str
        What the same command does when it is given again.

    Raises
    ------
    StoppedBySignal
        SIGTERM arrived; also where code that it interrupted made another error of it, or nothing.
    """
    arrived = []

    def stop(number: int, frame: FrameType | None) -> None:
        arrived.append(number)
        raise StoppedBySignal("Stopped by SIGTERM.", remedy)

    with ExitStack() as stack:
        if threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGTERM, stop)
            stack.callback(signal.signal, signal.SIGTERM, before)
        try:
            yield
        except StoppedBySignal:
            raise
        except Exception as error:
            if arrived:
                raise StoppedBySignal("Stopped by SIGTERM.", remedy) from error
            raise
        if arrived:
            raise StoppedBySignal("Stopped by SIGTERM.", remedy)


@contextmanager
def finishing() -> Iterator[None]:
    """Let SIGTERM wait until a short piece of work is done that should not be left half done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: arrived.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
    if arrived:
        signal.raise_signal(signal.SIGTERM)
