"""Runs the networks of a package with ONNX Runtime on the CPU."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.averaging import answer_each, count_features
from pipeline.engines.engine import Answer
from pipeline.engines.exports import check_measured, member_names, read_files
from pipeline.engines.libraries import library
from pipeline.engines.onnx_graph import to_onnx
from pipeline.package.package import ModelPackage

STEM = "network"
"""Of the names of exported files."""

Rows = NDArray[np.float32]


class OnnxEngine:
    """Implements :class:`pipeline.engines.engine.Engine` with ONNX Runtime.

    Parameters
    ----------
    package : ModelPackage
    threads : int
        CPU threads; 0 leaves ONNX Runtime's own choice.
    exported : Path or None
        Folder of an export; None converts the package.
    sealed : str
        Seal of that export; empty takes any.

    Raises
    ------
    EngineError
        See :meth:`pipeline.engines.onnx.Config.build`.
    """

    name = "onnx"

    def __init__(
        self, package: ModelPackage, *, threads: int = 0, exported: Path | None = None, sealed: str = ""
    ) -> None:
        if exported is None:
            models = [to_onnx(classifier, package, "onnx") for classifier in package.build_classifiers()]
        else:
            names = [f"{name}.onnx" for name in member_names(STEM, package.members)]
            report, models = read_files(exported, names, package, sealed=sealed)
            check_measured(report, self.name, "32", exported)
        self._flips, self._outputs = package.tta_flips, package.outputs
        sessions = [_session(model, threads) for model in models]
        self._members: list[Callable[[Rows], Rows]] = [partial(_run, session) for session in sessions]
        self._features = count_features(self._members[0], package)

    def answer(self, images: NDArray[np.float32]) -> Answer:
        """See :meth:`pipeline.engines.engine.Engine.answer`."""
        return answer_each(self._members, images, flips=self._flips, outputs=self._outputs, features=self._features)


def _session(model: bytes, threads: int) -> Any:
    runtime = library("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # a thread that spins while it waits takes the processor from those that read and prepare the next scans
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: Any, image: Rows) -> Rows:
    (rows,) = session.run(["rows"], {"images": np.ascontiguousarray(image)})
    return np.asarray(rows, dtype=np.float32)
