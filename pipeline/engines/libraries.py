"""Libraries that compute the answers of engines, which only some need, and their versions."""

import importlib
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType

from pipeline.errors import EngineError

TELEMETRY = "openvino_telemetry"
"""Through it OpenVINO's tools and NNCF tell their maker over the network who uses them, unasked. Both do without it."""

COMPUTING: Mapping[str, str] = {"torch": "torch", "openvino": "openvino", "onnx": "onnxruntime"}
"""Kind of engine to the distribution that computes its answers."""


def installed(names: Iterable[str]) -> dict[str, str]:
    """Versions of distributions; those that are not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def computing(kind: str) -> dict[str, str]:
    """Version of what computes the answers of a kind of engine; empty if it is not installed."""
    return installed([COMPUTING[kind]])


def check_installed(kind: str) -> None:
    """Refuse an engine whose library is not there, without importing it; `auto` takes none that is not.

    It is the module that counts: onnxruntime comes as onnxruntime-gpu, too.

    Raises
    ------
    EngineError
    """
    name = COMPUTING.get(kind)
    if name and (sys.modules[name] is None if name in sys.modules else find_spec(name) is None):
        raise _not_installed(name, kind)


def _not_installed(name: str, extra: str) -> EngineError:
    return EngineError(f"{name} is not installed.", f'Run: pip install "resdx[{extra}]"')


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
        raise _not_installed(name, extra) from error
