"""Libraries that only some engines need."""

import importlib
from types import ModuleType

from pipeline.errors import EngineError


def library(name: str, extra: str) -> ModuleType:
    """Import an optional library.

    Parameters
    ----------
    extra : str
        What ``pip install "resdx[...]"`` calls it.

    Raises
    ------
    EngineError
        If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != name.split(".")[0]:
            raise
        raise EngineError(f"{name} is not installed.", f'Run: pip install "resdx[{extra}]"') from error
