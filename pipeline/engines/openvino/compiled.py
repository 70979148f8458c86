"""Runs the networks of a package with OpenVINO on the CPU."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.averaging import answer_each, count_features
from pipeline.engines.engine import Answer
from pipeline.engines.exports import check_measured, member_names, read_files
from pipeline.engines.half import check_half
from pipeline.engines.openvino import conversion
from pipeline.engines.parity import ParityReport
from pipeline.package.package import ModelPackage

log = logging.getLogger("resdx")

Rows = NDArray[np.float32]

HINTS = {"32": "f32", "bf16": "bf16", "int8": "f32"}
"""Precision of all that is not quantised. Said in any case: unasked OpenVINO takes bfloat16 where there is any."""


class OpenvinoEngine:
    """Implements :class:`pipeline.engines.engine.Engine` with OpenVINO.

    Parameters
    ----------
    package : ModelPackage
    precision : str
        ``32``, ``bf16`` or ``int8``.
    threads : int
        CPU threads; 0 leaves OpenVINO's own choice.
    exported : Path or None
        Folder of an export; None converts the package.
    sealed : str
        Seal of that export; empty takes any.

    Raises
    ------
    EngineError
        See :meth:`pipeline.engines.openvino.Config.build`.
    """

    name = "openvino"

    def __init__(
        self,
        package: ModelPackage,
        *,
        precision: str = "32",
        threads: int = 0,
        exported: Path | None = None,
        sealed: str = "",
    ) -> None:
        if precision == "bf16" and not conversion.has_bfloat16():
            log.warning("openvino bf16: OpenVINO has no bfloat16 on this processor and computes in float32.")
        measured = False
        if exported is None:
            assert precision != "int8"
            models = [conversion.convert(classifier, package) for classifier in package.build_classifiers()]
        else:
            models, report = read_models(exported, package, precision, sealed)
            measured = check_measured(report, self.name, precision, exported)
        self._flips, self._outputs = package.tta_flips, package.outputs
        self._members = [runner(model, precision, threads) for model in models]
        self._features = count_features(self._members[0], package)
        if precision == "bf16" and not measured:
            for model, half in zip(models, self._members, strict=True):
                shape = (package.plan.channels, *package.plan.size)
                check_half(half, runner(model, "32", threads), shape, self.name)

    def answer(self, images: NDArray[np.float32]) -> Answer:
        """See :meth:`pipeline.engines.engine.Engine.answer`."""
        return answer_each(self._members, images, flips=self._flips, outputs=self._outputs, features=self._features)


def runner(model: Any, precision: str, threads: int) -> Callable[[Rows], Rows]:
    """Compile a model; what comes back runs (n, c, *space) to rows."""
    settings: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = conversion.core().compile_model(model, "CPU", settings)
    return partial(_run, compiled.create_infer_request())


def _run(request: Any, image: Rows) -> Rows:
    found = request.infer({0: np.ascontiguousarray(image)}, share_inputs=False)
    return np.array(found[0], dtype=np.float32)


def read_models(folder: Path, package: ModelPackage, precision: str, sealed: str) -> tuple[list[Any], ParityReport]:
    """Read the networks of an export, verified."""
    stem = conversion.INT8_STEM if precision == "int8" else conversion.STEM
    names = [f"{name}.{end}" for name in member_names(stem, package.members) for end in ("xml", "bin")]
    report, contents = read_files(folder, names, package, sealed=sealed)
    return [conversion.read(*pair) for pair in zip(contents[::2], contents[1::2], strict=True)], report
