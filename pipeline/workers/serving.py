"""What runs in a worker process."""

import os
import signal
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection

from pipeline.errors import RejectedInput, refusal_of
from pipeline.workers.answers import Item, Value, attempt
from pipeline.workers.limits import limit_memory
from pipeline.workers.passing import send


def serve(pipe: Connection, function: Callable[[Item], Value], memory_bytes: int, debug: bool) -> None:
    """Tell whether memory is limited; then answer each item with None when its work begins, and with what became of it.

    The answer is (value, error).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, OSError):
        send(pipe, limit_memory(memory_bytes))
        while True:
            item = pipe.recv()
            send(pipe, None)
            _answer(pipe, function, item, debug)
    os._exit(0)


def _answer(pipe: Connection, function: Callable[[Item], Value], item: Item, debug: bool) -> None:
    """Send (value, error); what cannot be pickled is an error too."""
    value, error = attempt(function, item, debug=debug)
    if error is not None and not isinstance(error, RejectedInput):
        error.add_note("".join(traceback.format_exception(error)))  # a traceback does not cross
    try:
        send(pipe, (value, error))
    except (EOFError, OSError):
        raise  # the parent is gone
    except Exception as failure:  # noqa: BLE001 - one item may not end its worker
        send(pipe, (None, refusal_of(failure)))
