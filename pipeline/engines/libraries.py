"""Libraries that only some engines need."""

import importlib
import sys
from types import ModuleType

from pipeline.errors import EngineError

TELEMETRY = "openvino_telemetry"
"""Through it OpenVINO's tools and NNCF tell their maker over the network who uses them, unasked. Both do without it."""


def library(name: str, extra: str) -> ModuleType:
    """Import an optional library; none of them finds a way to report home.

    Parameters
    ----------
    extra : str
        What ``pip install "resdx[...]"`` calls it.

    Raises
    ------
    EngineError
        If it is not installed.
    """
    sys.modules.setdefault(TELEMETRY, None)  # type: ignore[arg-type] # what stands as None cannot be imported
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != name.split(".")[0]:
            raise
        raise EngineError(f"{name} is not installed.", f'Run: pip install "resdx[{extra}]"') from error
