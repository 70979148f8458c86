"""From a classifier to OpenVINO's representation, and to and from its two files."""

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.engines.libraries import library
from pipeline.engines.onnx_graph import to_onnx
from pipeline.networks.classifier import Classifier
from pipeline.package.package import ModelPackage

STEM = "openvino"
INT8_STEM = "openvino_int8"


def core() -> Any:
    """Return the one Core of this process, which lives as long as it.

    OpenVINO's CPU plugin sets aside a stack for signals when a Core loads it, and puts the one before back when the
    Core goes. Of two Cores that overlap, the last puts back a stack that is freed already, and the next signal to which
    Python has a handler (SIGTERM, SIGINT, a child's end) ends the process by SIGSEGV (seen with openvino 2026.4.1).

    Raises
    ------
    EngineError
        If OpenVINO is not installed.
    """
    return _core(library("openvino", "openvino"))


@cache
def _core(openvino: ModuleType) -> Any:
    found = openvino.Core()
    found.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin, before anybody else's Core does
    return found


def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this processor where it is asked to; else it does so in float32."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def convert(classifier: Classifier, package: ModelPackage) -> Any:
    """Convert a fresh classifier, in place, to an ``openvino.Model``; the number of images stays open.

    Raises
    ------
    EngineError
        If OpenVINO or onnx is not installed.
    """
    return core().read_model(model=to_onnx(classifier, package, "openvino"))


def save(model: Any, folder: Path, name: str) -> None:
    """Write ``name.xml`` and ``name.bin``; weights keep their float32, which OpenVINO would halve by default."""
    library("openvino", "openvino").save_model(model, str(folder / f"{name}.xml"), compress_to_fp16=False)


def read(graph: bytes, weights: bytes) -> Any:
    """Make a model of the bytes of its two files."""
    return core().read_model(model=graph, weights=weights)
