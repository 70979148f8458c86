"""What becomes of one item: its value, its refusal, or an error that ends the run."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.errors import RejectedInput, ResdxError, refusal_of

Item = TypeVar("Item")
Value = TypeVar("Value")

OF_THE_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""System errors that every item would meet: a disk that is full or cannot be written."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Value]):
    """What became of one item: its value, or the reason for which it is refused."""

    index: int
    value: Value | None
    error: RejectedInput | None = None


def attempt(function: Callable[[Item], Value], item: Item, *, debug: bool) -> tuple[Value | None, Exception | None]:
    """Value of one item; or its refusal; or, where it is not the item's alone, the exception that ends the run."""
    try:
        return function(item), None
    except (RejectedInput, MemoryError) as error:
        return None, error if isinstance(error, RejectedInput) else refusal_of(error)
    except Exception as error:  # noqa: BLE001 - one item may not end the run
        if debug or isinstance(error, ResdxError) or getattr(error, "errno", None) in OF_THE_MACHINE:
            return None, error
        return None, refusal_of(error)


def outcome_of(index: int, value: Value | None, error: Exception | None) -> Outcome[Value]:
    """Put a value or a refusal by its index; raise any other error."""
    if error is not None and not isinstance(error, RejectedInput):
        raise error
    return Outcome(index, value, error)
