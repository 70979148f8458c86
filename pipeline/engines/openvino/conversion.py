"""From a classifier to OpenVINO's representation, and to and from its two files."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pipeline.engines.libraries import library
from pipeline.networks.classifier import Classifier
from pipeline.networks.exporting import Traceable
from pipeline.package.package import ModelPackage

STEM = "openvino"
INT8_STEM = "openvino_int8"


def convert(classifier: Classifier, package: ModelPackage) -> Any:
    """Convert a fresh classifier, in place, to an ``openvino.Model``; the number of images stays open.

    Raises
    ------
    EngineError
        If OpenVINO is not installed.
    """
    openvino = library("openvino", "openvino")
    shape = (package.plan.channels, *package.plan.size)
    with quiet(), torch.inference_mode(False), torch.no_grad():
        return openvino.convert_model(
            Traceable(classifier).eval(),
            example_input=torch.zeros((1, *shape)),
            input=[openvino.PartialShape([-1, *shape])],
        )


def save(model: Any, folder: Path, name: str) -> None:
    """Write ``name.xml`` and ``name.bin``; weights keep their float32, which OpenVINO would halve by default."""
    library("openvino", "openvino").save_model(model, str(folder / f"{name}.xml"), compress_to_fp16=False)


def read(graph: bytes, weights: bytes) -> Any:
    """Make a model of the bytes of its two files."""
    return library("openvino", "openvino").Core().read_model(model=graph, weights=weights)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings of tracing and the chatter of converters from the user: shapes are fixed by the plan."""
    loggers = [logging.getLogger(name) for name in ("nncf", "openvino", "torch.onnx")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
