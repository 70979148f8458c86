"""From a classifier to an ONNX model, which OpenVINO too reads ten times sooner than it traces PyTorch."""

import tempfile
import warnings
from pathlib import Path

import torch

from pipeline.engines.libraries import library
from pipeline.errors import EngineError
from pipeline.networks.classifier import Classifier
from pipeline.networks.exporting import Traceable
from pipeline.package.package import ModelPackage

OPSET = 18
"""First with the reductions over axes given as inputs that today's runtimes are tuned for; any runtime since 2023."""

LARGEST = 2**31 - 1
"""Bytes of a protobuf message; the weights of no residual network come near."""


def to_onnx(classifier: Classifier, package: ModelPackage, extra: str) -> bytes:
    """Convert a fresh classifier, in place; input ``images``, output ``rows``, the number of images stays open.

    Torch's older exporter is used: it needs `onnx` alone. The model is checked against the standard.

    Parameters
    ----------
    extra : str
        Extra of resdx that brings `onnx`, to be named where it is missing.

    Raises
    ------
    EngineError
        If onnx is not installed, or the model would not fit into one file.
    """
    onnx = library("onnx", extra)
    weights = sum(value.numel() * value.element_size() for value in classifier.state_dict().values())
    if weights > LARGEST:
        raise EngineError(f"An ONNX file holds 2 GiB at most, the network has {weights} bytes.", "Use torch.")
    example = torch.zeros((1, package.plan.channels, *package.plan.size))
    with warnings.catch_warnings(), torch.no_grad(), tempfile.TemporaryDirectory(prefix="resdx-onnx-") as scratch:
        warnings.simplefilter("ignore")
        path = Path(scratch) / "network.onnx"
        torch.onnx.export(
            Traceable(classifier).eval(),
            (example,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["rows"],
            dynamic_axes={"images": {0: "n"}, "rows": {0: "n"}},
        )
        content = path.read_bytes()
    onnx.checker.check_model(content, full_check=True)
    return content
