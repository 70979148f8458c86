"""From a classifier to OpenVINO's representation, and to and from its two files."""

from pathlib import Path
from typing import Any

from pipeline.engines.libraries import library
from pipeline.engines.onnx_graph import to_onnx
from pipeline.networks.classifier import Classifier
from pipeline.package.package import ModelPackage

STEM = "openvino"
INT8_STEM = "openvino_int8"


def convert(classifier: Classifier, package: ModelPackage) -> Any:
    """Convert a fresh classifier, in place, to an ``openvino.Model``; the number of images stays open.

    Raises
    ------
    EngineError
        If OpenVINO or onnx is not installed.
    """
    openvino = library("openvino", "openvino")
    return openvino.Core().read_model(model=to_onnx(classifier, package, "openvino"))


def save(model: Any, folder: Path, name: str) -> None:
    """Write ``name.xml`` and ``name.bin``; weights keep their float32, which OpenVINO would halve by default."""
    library("openvino", "openvino").save_model(model, str(folder / f"{name}.xml"), compress_to_fp16=False)


def read(graph: bytes, weights: bytes) -> Any:
    """Make a model of the bytes of its two files."""
    return library("openvino", "openvino").Core().read_model(model=graph, weights=weights)
